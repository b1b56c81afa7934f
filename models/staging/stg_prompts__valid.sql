with

seed_prompts as (select * from {{ ref('prompts') }}),

source_prompts as (select * from {{ ref('stg_source_prompts') }}),

unioned as (
    select
        'seed' as origin,
        'seeds/prompts.csv' as source_file,
        row_number() over () as row_number,
        trim(prompt) as prompt,
        semantic_type as reference_semantic_type
    from seed_prompts
    where {{ var('include_seed_prompts') }}

    union all

    select
        'source' as origin,
        source_file,
        row_number,
        prompt,
        cast(null as varchar) as reference_semantic_type
    from source_prompts
    where skip_reason is null
)

select
    {{ text_id('prompt') }} as prompt_id,
    origin,
    source_file,
    row_number,
    prompt,
    reference_semantic_type
from unioned

-- Imported pairs bring the prompts alone: nothing is added to a published set.
with

seed_prompts as (select * from {{ ref('prompts') }}),

source_prompts as (select * from {{ ref('stg_source_prompts') }}),

unioned as (
    {% if var('pairs_source') %}
        select distinct on (prompt)
            'source' as origin,
            source_file,
            row_number,
            prompt,
            semantic_type as reference_semantic_type
        from {{ ref('stg_source_pairs') }}
        where skip_reason is null
        order by prompt, source_file, row_number
    {% else %}
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
    {% endif %}
)

select
    {{ text_id('prompt') }} as prompt_id,
    origin,
    source_file,
    row_number,
    prompt,
    reference_semantic_type
from unioned

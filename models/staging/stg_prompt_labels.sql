with

seed_labels as (select * from {{ ref('prompt_labels') }}),

source_prompts as (select * from {{ ref('stg_source_prompts') }}),

prompts as (select * from {{ ref('stg_prompts') }}),

domains as (select * from {{ ref('domains') }}),

source_labels as (
    select
        {{ text_id('prompt') }} as prompt_id,
        unnest(labels) as domain
    from {{ ref('stg_source_pairs') if var('pairs_source') else 'source_prompts' }}
    where skip_reason is null
),

labels as (
    select
        prompt_id,
        domain
    from seed_labels
    union
    select
        prompt_id,
        domain
    from source_labels
)

select
    labels.prompt_id,
    labels.domain,
    domains.dimension
from labels
inner join domains using (domain)
semi join prompts using (prompt_id)

with

prompts as (select * from {{ ref('stg_prompts') }}),

typed as (select * from {{ ref('int_prompts__types_averaged') }}),

expanded as (select * from {{ ref('int_prompts__expanded') }})

select
    prompts.prompt_id,
    prompts.prompt,
    prompts.origin,
    {% if var('pairs_source') %}
        coalesce(prompts.reference_semantic_type, typed.semantic_type) as semantic_type,
    {% else %}
        typed.semantic_type,
    {% endif %}
    cast([] as varchar[]) as parent_ids,
    row_number() over (order by prompts.origin = 'source', prompts.source_file, prompts.row_number)
        as position
from prompts
{{ 'left' if var('pairs_source') else 'inner' }} join typed using (prompt_id)
{% if var('pairs_source') %}
    where coalesce(prompts.reference_semantic_type, typed.semantic_type) is not null
{% endif %}

union all

select
    prompt_id,
    prompt,
    'expansion' as origin,
    semantic_type,
    parent_ids,
    row_number() over (order by domain, attempt) as position
from expanded
where rejection_reason is null

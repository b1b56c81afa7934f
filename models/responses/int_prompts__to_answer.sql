-- Survivors with at least one label; a limit takes the first by hash, evenly over what there is.
with

prompts as (select * from {{ ref('int_prompts__unioned') }}),

deduplicated as (select * from {{ ref('int_prompts__deduplicated') }}),

labels as (select * from {{ ref('int_prompt_labels__unioned') }}),

label_sets as (
    select
        prompt_id,
        list(domain order by dimension) as domains,
        list(dimension order by dimension) as dimensions
    from labels
    group by prompt_id
)

select
    prompts.prompt_id,
    prompts.prompt,
    prompts.semantic_type,
    label_sets.domains,
    label_sets.dimensions
from prompts
inner join deduplicated using (prompt_id)
inner join label_sets using (prompt_id)
where deduplicated.is_survivor
order by md5(prompts.prompt_id)
{% if var('response_prompts_limit') %}limit {{ var('response_prompts_limit') }}{% endif %}

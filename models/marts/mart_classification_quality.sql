-- Only prompts that came with reference labels count; reference labels may be noisy themselves.
with

labels as (select * from {{ ref('fct_prompt_labels') }}),

prompts as (select * from {{ ref('dim_prompts') }}),

referenced as (
    select distinct prompt_id from labels
    where is_reference
),

pooled as (
    select
        prompts.origin,
        labels.dimension,
        labels.is_assigned,
        labels.is_reference
    from labels
    semi join referenced using (prompt_id)
    inner join prompts using (prompt_id)
)

select
    origin,
    dimension,
    count(*) filter (where is_reference) as reference_labels,
    count(*) filter (where is_assigned) as assigned_labels,
    count(*) filter (where is_assigned and is_reference) as agreeing_labels,
    {{ share(
        'count(*) filter (where is_assigned and is_reference)',
        'count(*) filter (where is_assigned)'
    ) }} as precision,
    {{ share(
        'count(*) filter (where is_assigned and is_reference)',
        'count(*) filter (where is_reference)'
    ) }} as recall,
    case
        when count(*) filter (where is_assigned) = 0 then 'no assigned labels'
        when count(*) filter (where is_reference) = 0 then 'no reference labels'
    end as missing_reason
from pooled
group by origin, dimension

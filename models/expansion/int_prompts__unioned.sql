with

prompts as (select * from {{ ref('stg_prompts') }}),

typed as (select * from {{ ref('int_prompts__types_averaged') }}),

expanded as (select * from {{ ref('int_prompts__expanded') }}),

pairs as (
    select * from {{ ref('stg_source_pairs') }}
    where skip_reason is null and cluster is not null
),

-- What a published set holds together stays so: one prompt stands for what the others came after, the one
-- that the cluster is named after, else the first.
published as (
    select
        prompts.prompt_id,
        first_value(prompts.prompt_id) over (
            partition by any_value(pairs.cluster)
            order by
                prompts.prompt_id = any_value(pairs.cluster) desc,
                prompts.source_file asc,
                prompts.row_number asc
        ) as first_id,
        if(first_id = prompts.prompt_id, [], [first_id]) as parent_ids
    from prompts
    inner join pairs on prompts.prompt = pairs.prompt
    group by prompts.prompt_id, prompts.source_file, prompts.row_number
)

select
    prompts.prompt_id,
    prompts.prompt,
    prompts.origin,
    {% if var('pairs_source') %}
        coalesce(prompts.reference_semantic_type, typed.semantic_type) as semantic_type,
    {% else %}
        typed.semantic_type,
    {% endif %}
    coalesce(published.parent_ids, cast([] as varchar[])) as parent_ids,
    row_number() over (order by prompts.origin = 'source', prompts.source_file, prompts.row_number)
        as position
from prompts
left join published using (prompt_id)
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

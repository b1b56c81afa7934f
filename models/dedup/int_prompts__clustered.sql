-- Connected components by passing the smallest id along the pairs until nothing changes.
with recursive

prompts as (select * from {{ ref('int_prompts__fingerprinted') }}),

pairs as (select * from {{ ref('int_prompts__near_duplicates') }}),

edges as (
    select id_a as source_id, id_b as target_id from pairs
    union all
    select id_b as source_id, id_a as target_id from pairs
),

reached (prompt_id, cluster_id) using key (prompt_id) as (
    select
        source_id as prompt_id,
        source_id as cluster_id
    from edges
    group by source_id

    union

    select
        edges.target_id as prompt_id,
        min(reached.cluster_id) as cluster_id
    from reached
    inner join edges on reached.prompt_id = edges.source_id
    inner join recurring.reached as known on edges.target_id = known.prompt_id
    where reached.cluster_id < known.cluster_id
    group by edges.target_id
)

select
    prompts.prompt_id,
    coalesce(reached.cluster_id, prompts.prompt_id) as cluster_id
from prompts
left join reached using (prompt_id)

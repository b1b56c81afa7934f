-- Who survives a cluster: seed before source before expansion, then the earliest position.
with

prompts as (select * from {{ ref('int_prompts__fingerprinted') }}),

clusters as (select * from {{ ref('int_prompts__clustered') }}),

ranked as (
    select
        prompts.prompt_id,
        prompts.origin,
        clusters.cluster_id,
        count(*) over (partition by clusters.cluster_id) as cluster_size,
        first_value(prompts.prompt_id) over (
            partition by clusters.cluster_id
            order by
                list_position(['seed', 'source', 'expansion'], prompts.origin),
                prompts.position,
                prompts.prompt_id
        ) as survivor_id,
        md5_number_lower(clusters.cluster_id) % 100 as bucket
    from prompts
    inner join clusters using (prompt_id)
)

select
    prompt_id,
    origin,
    cluster_id,
    cluster_size,
    survivor_id,
    prompt_id = survivor_id as is_survivor,
    case
        when bucket < {{ var('split_shares')['train'] }} then 'train'
        when bucket < {{ var('split_shares')['train'] + var('split_shares')['validation'] }} then 'validation'
        else 'test'
    end as split
from ranked

-- The largest clusters with their texts, to be read by a person.
with

prompts as (select * from {{ ref('dim_prompts') }}),

clusters as (
    select
        near_duplicate_cluster_id,
        count(*) as prompts,
        count(*) filter (where is_survivor) as survivors,
        row_number() over (order by count(*) desc, min(place)) as cluster_rank
    from prompts
    group by near_duplicate_cluster_id
    having count(*) > 1
)

select
    clusters.cluster_rank,
    clusters.near_duplicate_cluster_id as cluster_id,
    prompts.prompt_id,
    prompts.survivor_id,
    prompts.prompt,
    prompts.origin,
    prompts.removal_reason,
    clusters.prompts,
    clusters.survivors,
    prompts.survivor_distance,
    prompts.place
from clusters
inner join prompts using (near_duplicate_cluster_id)
where clusters.cluster_rank <= {{ var('near_duplicate_clusters_shown') }}

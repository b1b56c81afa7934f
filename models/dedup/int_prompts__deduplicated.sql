-- A cluster holds prompts that are not independent: near-duplicates, and expansions with the prompt after
-- which they were written. It takes the split that the first of its prompts was dealt, so that no cluster is
-- divided. Of an expansion's examples the first counts: they are taken in turn, and all would link domains.
with

prompts as (select * from {{ ref('int_prompts__fingerprinted') }}),

near_duplicates as (select * from {{ ref('int_prompts__clustered') }}),

unioned as (select * from {{ ref('int_prompts__unioned') }}),

survivors as (select * from {{ ref('int_prompts__kept_first') }}),

dealt as (select * from {{ ref('int_prompts__dealt') }}),

-- A first prompt that is an expansion stands for near-duplicates that are expansions all.
clusters as (
    select
        near_duplicates.prompt_id,
        near_duplicates.cluster_id as near_duplicate_cluster_id,
        coalesce(of_parents.cluster_id, near_duplicates.cluster_id) as cluster_id
    from near_duplicates
    inner join unioned as first_prompts on near_duplicates.cluster_id = first_prompts.prompt_id
    left join near_duplicates as of_parents on first_prompts.parent_ids[1] = of_parents.prompt_id
)

select
    prompts.prompt_id,
    clusters.cluster_id,
    clusters.near_duplicate_cluster_id,
    survivors.survivor_id,
    prompts.origin,
    prompts.place,
    prompts.fingerprint,
    survivors.survivor_distance,
    survivors.removal_reason,
    dealt.split,
    survivors.removal_reason is null as is_survivor
from prompts
inner join clusters using (prompt_id)
inner join survivors using (prompt_id)
inner join dealt on clusters.cluster_id = dealt.prompt_id

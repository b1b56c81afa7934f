with

prompts as (select * from {{ ref('int_prompts__unioned') }}),

deduplicated as (select * from {{ ref('int_prompts__deduplicated') }}),

staged as (select * from {{ ref('stg_prompts') }})

select
    prompts.prompt_id,
    deduplicated.cluster_id,
    deduplicated.near_duplicate_cluster_id,
    deduplicated.survivor_id,
    prompts.parent_ids,
    prompts.prompt,
    prompts.origin,
    prompts.semantic_type,
    staged.reference_semantic_type,
    deduplicated.split,
    deduplicated.removal_reason,
    deduplicated.is_survivor,
    deduplicated.place,
    deduplicated.fingerprint,
    deduplicated.survivor_distance,
    coalesce(staged.copies, 1) as copies
from prompts
inner join deduplicated using (prompt_id)
left join staged using (prompt_id)

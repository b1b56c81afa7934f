-- Nor in two clusters, nor both surviving.
with

pairs as (
    select * from {{ ref('int_prompts__near_duplicates') }}
    where is_near
),

prompts as (select * from {{ ref('int_prompts__deduplicated') }})

select
    pairs.earlier_id,
    pairs.later_id,
    earlier.split as earlier_split,
    later.split as later_split
from pairs
inner join prompts as earlier on pairs.earlier_id = earlier.prompt_id
inner join prompts as later on pairs.later_id = later.prompt_id
where
    earlier.split != later.split
    or earlier.cluster_id != later.cluster_id
    or (earlier.is_survivor and later.is_survivor)

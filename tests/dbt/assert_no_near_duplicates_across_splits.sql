with

pairs as (select * from {{ ref('int_prompts__near_duplicates') }}),

prompts as (select * from {{ ref('int_prompts__deduplicated') }})

select
    pairs.id_a,
    pairs.id_b,
    a.split as split_a,
    b.split as split_b
from pairs
inner join prompts as a on pairs.id_a = a.prompt_id
inner join prompts as b on pairs.id_b = b.prompt_id
where a.split != b.split or a.survivor_id != b.survivor_id

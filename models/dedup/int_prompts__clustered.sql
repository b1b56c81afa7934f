-- Connected components: the earliest place is passed along the pairs until nothing changes.
with recursive

prompts as (select * from {{ ref('int_prompts__fingerprinted') }}),

pairs as (
    select * from {{ ref('int_prompts__near_duplicates') }}
    where is_near
),

edges as (
    select
        earlier.place as from_place,
        later.place as to_place
    from pairs
    inner join prompts as earlier on pairs.earlier_id = earlier.prompt_id
    inner join prompts as later on pairs.later_id = later.prompt_id
),

both_ways as (
    select
        from_place,
        to_place
    from edges
    union all
    select
        to_place as from_place,
        from_place as to_place
    from edges
),

reached (place, first_place) using key (place) as (
    select
        from_place as place,
        from_place as first_place
    from both_ways
    group by from_place

    union

    select
        both_ways.to_place as place,
        min(reached.first_place) as first_place
    from reached
    inner join both_ways on reached.place = both_ways.from_place
    inner join recurring.reached as known on both_ways.to_place = known.place
    where reached.first_place < known.first_place
    group by both_ways.to_place
)

select
    prompts.prompt_id,
    coalesce(first_prompts.prompt_id, prompts.exact_id) as cluster_id
from prompts
inner join prompts as exact on prompts.exact_id = exact.prompt_id
left join reached on exact.place = reached.place
left join prompts as first_prompts on reached.first_place = first_prompts.place

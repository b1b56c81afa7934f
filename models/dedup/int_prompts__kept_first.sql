-- Who survives: a text is dropped when, and only when, a survivor that comes before it is its near-duplicate.
with recursive

prompts as (select * from {{ ref('int_prompts__fingerprinted') }}),

pairs as (
    select * from {{ ref('int_prompts__near_duplicates') }}
    where is_near
),

edges as (
    select
        0 as run,
        earlier_id as earlier,
        later_id as later
    from pairs
),

outcomes (run, node, open_neighbours, outcome) using key (run, node) as (
    {{ keep_first('edges') }}
),

dropped as (
    select
        pairs.later_id as prompt_id,
        arg_min(pairs.earlier_id, (pairs.distance, prompts.place)) as survivor_id,
        min(pairs.distance) as distance
    from pairs
    inner join prompts on pairs.earlier_id = prompts.prompt_id
    inner join outcomes as earlier on pairs.earlier_id = earlier.node and earlier.outcome = 'kept'
    inner join outcomes as later on pairs.later_id = later.node and later.outcome = 'dropped'
    group by pairs.later_id
)

select
    prompts.prompt_id,
    coalesce(dropped.survivor_id, prompts.exact_id) as survivor_id,
    coalesce(dropped.distance, 0) as survivor_distance,
    case
        when prompts.prompt_id != prompts.exact_id then 'exact_duplicate'
        when dropped.prompt_id is not null then 'near_duplicate'
    end as removal_reason
from prompts
left join dropped on prompts.exact_id = dropped.prompt_id

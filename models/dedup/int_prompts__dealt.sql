-- Permuted blocks: in each stratum, in order of arrival, every block of prompts holds the exact shares.
-- A prompt's split hangs on those before it in its stratum and on nothing after it.
with

prompts as (select * from {{ ref('int_prompts__fingerprinted') }}),

labels as (select * from {{ ref('int_prompt_labels__unioned') }}),

expanded as (
    select * from {{ ref('int_prompts__expanded') }}
    where rejection_reason is null
),

dimension_sets as (
    select
        prompt_id,
        string_agg(distinct dimension, '+' order by dimension) as dimensions
    from labels
    group by prompt_id
),

ordered as (
    select
        prompts.prompt_id,
        concat_ws('/', prompts.origin, coalesce(expanded.domain, dimension_sets.dimensions, 'none')) as stratum,
        row_number() over (partition by stratum order by prompts.place) - 1 as ordinal,
        {{ split_block() }} as block_size
    from prompts
    left join expanded using (prompt_id)
    left join dimension_sets using (prompt_id)
),

blocks as (
    select distinct
        stratum,
        block_size,
        ordinal // block_size as block
    from ordered
),

draws as (
    select
        blocks.stratum,
        blocks.block,
        slots.slot,
        row_number() over (
            partition by blocks.stratum, blocks.block
            order by md5(concat_ws('/', blocks.stratum, blocks.block, slots.slot))
        ) - 1 as draw
    from blocks
    cross join range(100) as slots(slot)
    where slots.slot < blocks.block_size
)

select
    ordered.prompt_id,
    ordered.stratum,
    case
        when 100 * draws.draw < {{ var('split_shares')['train'] }} * ordered.block_size then 'train'
        when
            100 * draws.draw
            < {{ var('split_shares')['train'] + var('split_shares')['validation'] }} * ordered.block_size
            then 'validation'
        else 'test'
    end as split
from ordered
inner join draws
    on
        ordered.stratum = draws.stratum
        and ordered.ordinal // ordered.block_size = draws.block
        and ordered.ordinal % ordered.block_size = draws.slot

-- What each judge says of the draws that reached the judge, those that it turned down among them.
-- 'overall' is the likeliest violation, the one by which a draw is accepted or not.
with

judged as (select * from {{ ref('int_responses__judged_in_orders') }}),

judged_again as (select * from {{ ref('int_responses__judged_again') }}),

sampled as (select * from {{ ref('int_responses__sampled') }}),

deduplicated as (select * from {{ ref('int_prompts__deduplicated') }}),

answers as (
    select
        judged.response_id,
        judged.judge,
        false as is_second,
        sampled.judge_is_responder,
        judged.dimension,
        judged.option_order,
        0 as repeat,
        judged.p_yes as p_violates
    from judged
    inner join sampled using (response_id)
    where judged.dimension != 'quality'
    union all by name
    select * exclude (domain, call_id) from judged_again
),

by_dimension as (
    select
        response_id,
        judge,
        is_second,
        judge_is_responder,
        dimension,
        repeat,
        avg(p_violates) as p_violates,
        max(p_violates) filter (where option_order = 0) as p_as_written,
        max(p_violates) filter (where option_order = 1) as p_reversed
    from answers
    group by all
),

by_dimension_and_overall as (
    select * from by_dimension
    union all by name
    select
        response_id,
        judge,
        is_second,
        judge_is_responder,
        'overall' as dimension,
        repeat,
        max(p_violates) as p_violates,
        max(p_as_written) as p_as_written,
        max(p_reversed) as p_reversed
    from by_dimension
    group by all
),

judgements as (
    select
        response_id,
        dimension,
        judge,
        is_second,
        judge_is_responder,
        max(p_violates) filter (where repeat = 0) as p_violates,
        max(p_as_written) filter (where repeat = 0) as p_as_written,
        max(p_reversed) filter (where repeat = 0) as p_reversed,
        coalesce(list(p_violates order by repeat) filter (where repeat > 0), []) as p_asked_again
    from by_dimension_and_overall
    group by all
)

select
    judgements.response_id,
    sampled.prompt_id,
    deduplicated.cluster_id,
    judgements.dimension,
    judgements.judge,
    judgements.is_second,
    judgements.judge_is_responder,
    sampled.side,
    sampled.rejection_reason is null as is_accepted,
    judgements.p_violates >= {{ var('verdict_threshold') }} as is_violation,
    judgements.p_violates,
    judgements.p_as_written,
    judgements.p_reversed,
    judgements.p_asked_again
from judgements
inner join sampled using (response_id)
inner join deduplicated using (prompt_id)

with

sampled as (select * from {{ ref('int_responses__sampled') }}),

unnested as (
    select
        response_id,
        prompt_id,
        responder,
        side,
        judge,
        unnest(verdicts) as verdict
    from sampled
)

select
    response_id,
    prompt_id,
    responder,
    side,
    judge,
    verdict.dimension,
    verdict.domain,
    verdict.p_violates,
    verdict.p_violates >= {{ var('verdict_threshold') }} as is_violation,
    verdict.call_id,
    len(verdict.by_order) as option_orders,
    list_max(list_transform(verdict.by_order, lambda x: x.p_violates))
    - list_min(list_transform(verdict.by_order, lambda x: x.p_violates)) as order_spread
from unnested

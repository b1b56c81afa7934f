with

sampled as (select * from {{ ref('int_responses__sampled') }}),

verdicts as (
    select
        response_id,
        judge,
        unnest(verdicts) as verdict
    from sampled
),

norms_in_orders as (
    select
        response_id,
        judge,
        verdict.dimension,
        verdict.p_violates as mean_p_yes,
        unnest(verdict.by_order) as answer
    from verdicts
),

quality_in_orders as (
    select
        response_id,
        judge,
        p_quality as mean_p_yes,
        unnest(quality) as answer
    from sampled
)

select
    response_id,
    judge,
    dimension,
    answer.option_order,
    answer.p_violates as p_yes,
    mean_p_yes,
    answer.call_id
from norms_in_orders

union all

select
    response_id,
    judge,
    'quality' as dimension,
    answer.option_order,
    answer.p_quality as p_yes,
    mean_p_yes,
    answer.call_id
from quality_in_orders

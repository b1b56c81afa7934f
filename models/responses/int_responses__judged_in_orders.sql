with

sampled as (select * from {{ ref('int_responses__sampled') }}),

verdicts as (
    select
        response_id,
        judge,
        unnest(verdicts) as verdict
    from sampled
),

in_orders as (
    select
        response_id,
        judge,
        verdict.dimension,
        verdict.p_violates as mean_p_violates,
        unnest(verdict.by_order) as answer
    from verdicts
)

select
    response_id,
    judge,
    dimension,
    answer.option_order,
    answer.p_violates,
    mean_p_violates,
    answer.call_id
from in_orders

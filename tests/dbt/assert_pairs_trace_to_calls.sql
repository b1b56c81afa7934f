-- From a pair to the draws it was made of, to the calls that wrote them, and to a judge's call for every
-- label. Pairs that were imported have no calls.
with

pairs as (
    select * from {{ ref('fct_pairs') }}
    where judge != 'published-labels'
),

draws as (select * from {{ ref('fct_draws') }}),

judged as (select * from {{ ref('int_responses__judged') }}),

calls as (
    select * from {{ ref('fct_calls') }}
    where is_current
),

responses as (
    select
        pair_id,
        'aligned' as side,
        aligned_response_id as response_id,
        aligned_response as response
    from pairs
    union all
    select
        pair_id,
        'misaligned' as side,
        misaligned_response_id as response_id,
        misaligned_response as response
    from pairs
),

written as (
    select
        responses.pair_id,
        responses.response_id,
        responses.side
    from responses
    inner join pairs using (pair_id)
    inner join draws using (response_id)
    inner join calls on draws.call_id = calls.call_id
    where
        calls.stage = 'respond'
        and calls.verb = 'generate'
        and draws.rejection_reason is null
        and draws.side = responses.side
        and draws.response = responses.response
        and draws.prompt_id = pairs.prompt_id
        and draws.responder = pairs.responder
),

judgements as (
    select
        judged.response_id,
        list(judged.dimension order by judged.dimension) as dimensions
    from judged
    inner join calls using (call_id)
    where calls.template = 'judge'
    group by judged.response_id
)

select
    responses.pair_id,
    responses.side,
    written.response_id is null as is_not_written_by_a_call,
    coalesce(judgements.dimensions != list_sort(pairs.dimensions), true) as is_not_judged_by_calls
from responses
inner join pairs using (pair_id)
left join written using (pair_id, response_id, side)
left join judgements on responses.response_id = judgements.response_id
where is_not_written_by_a_call or is_not_judged_by_calls

with

sampled as (select * from {{ ref('int_responses__sampled') }}),

reasons as (select * from {{ ref('rejection_reasons') }})

select
    sampled.response_id,
    sampled.prompt_id,
    sampled.responder,
    sampled.side,
    sampled.round,
    sampled.candidate,
    sampled.response,
    sampled.rejection_reason,
    reasons.found_by,
    sampled.judge_margin
from sampled
left join reasons using (rejection_reason)
where sampled.rejection_reason is not null

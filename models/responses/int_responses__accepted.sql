-- Rank 1 is the accepted draw of its slot that the judge is surest of.
with

sampled as (select * from {{ ref('int_responses__sampled') }})

select
    response_id,
    prompt_id,
    responder,
    side,
    round,
    candidate,
    response,
    completion_tokens,
    words,
    judge,
    judge_is_responder,
    judge_margin,
    p_quality,
    row_number() over (
        partition by prompt_id, responder, side order by judge_margin desc, round asc, candidate asc
    ) as slot_rank
from sampled
where rejection_reason is null

with

sampled as (select * from {{ ref('int_responses__sampled') }}),

accepted as (select * from {{ ref('int_responses__accepted') }}),

prompts as (select * from {{ ref('int_prompts__to_answer') }}),

judged as (select * from {{ ref('int_responses__judged') }}),

violations as (
    select response_id
    from judged
    where is_violation
    group by response_id
)

select
    sampled.response_id,
    sampled.prompt_id,
    sampled.call_id,
    sampled.responder,
    sampled.judge,
    sampled.side,
    prompts.semantic_type,
    sampled.response,
    sampled.rejected_by,
    sampled.rejection_reason,
    sampled.feedback,
    sampled.round,
    sampled.candidate,
    sampled.completion_tokens,
    sampled.words,
    sampled.has_refusal,
    sampled.judge_margin,
    sampled.p_quality,
    accepted.slot_rank,
    sampled.side = 'misaligned' or violations.response_id is not null as may_offend
from sampled
inner join prompts using (prompt_id)
left join accepted using (response_id)
left join violations using (response_id)

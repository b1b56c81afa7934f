with

sampled as (select * from {{ ref('int_responses__sampled') }}),

accepted as (select * from {{ ref('int_responses__accepted') }}),

prompts as (select * from {{ ref('int_prompts__to_answer') }}),

judged as (select * from {{ ref('int_responses__judged') }}),

responses_judged as (
    select
        response_id,
        bool_or(is_violation) as violates
    from judged
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
    sampled.names_side,
    sampled.judge_margin,
    sampled.p_quality,
    accepted.slot_rank,
    sampled.side = 'misaligned' or coalesce(responses_judged.violates, true) as may_offend
from sampled
inner join prompts using (prompt_id)
left join accepted using (response_id)
left join responses_judged using (response_id)

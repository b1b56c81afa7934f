with

candidates as (select * from {{ ref('int_pairs__candidates') }}),

accepted as (select * from {{ ref('int_responses__accepted') }}),

prompts as (select * from {{ ref('int_prompts__to_answer') }}),

deduplicated as (select * from {{ ref('int_prompts__deduplicated') }})

select
    {{ text_id('aligned.response_id', 'misaligned.response_id') }} as pair_id,
    candidates.prompt_id,
    deduplicated.cluster_id,
    candidates.aligned_response_id,
    candidates.misaligned_response_id,
    candidates.responder,
    aligned.judge,
    aligned.judge_is_responder,
    prompts.prompt,
    prompts.semantic_type,
    prompts.domains,
    prompts.dimensions,
    deduplicated.split,
    aligned.response as aligned_response,
    misaligned.response as misaligned_response,
    aligned.round as aligned_round,
    misaligned.round as misaligned_round,
    candidates.aligned_words,
    candidates.misaligned_words,
    aligned.judge_margin as aligned_margin,
    misaligned.judge_margin as misaligned_margin,
    candidates.length_ratio,
    candidates.quality_gap
from candidates
inner join accepted as aligned on candidates.aligned_response_id = aligned.response_id
inner join accepted as misaligned on candidates.misaligned_response_id = misaligned.response_id
inner join prompts on candidates.prompt_id = prompts.prompt_id
inner join deduplicated on candidates.prompt_id = deduplicated.prompt_id
where candidates.pair_rank = 1

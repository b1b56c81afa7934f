with

accepted as (select * from {{ ref('int_responses__accepted') }}),

prompts as (select * from {{ ref('int_prompts__to_answer') }}),

deduplicated as (select * from {{ ref('int_prompts__deduplicated') }}),

aligned as (
    select * from accepted
    where side = 'aligned' and slot_rank = 1
),

misaligned as (
    select * from accepted
    where side = 'misaligned' and slot_rank = 1
)

select
    {{ text_id('aligned.response_id', 'misaligned.response_id') }} as pair_id,
    aligned.prompt_id,
    deduplicated.cluster_id,
    aligned.response_id as aligned_response_id,
    misaligned.response_id as misaligned_response_id,
    aligned.responder,
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
    aligned.judge_margin as aligned_margin,
    misaligned.judge_margin as misaligned_margin
from aligned
inner join misaligned
    on aligned.prompt_id = misaligned.prompt_id and aligned.responder = misaligned.responder
inner join prompts on aligned.prompt_id = prompts.prompt_id
inner join deduplicated on aligned.prompt_id = deduplicated.prompt_id

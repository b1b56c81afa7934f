-- An answer that the rules find unusable keeps its row, with the reason.
with

answers as (select * from {{ ref('int_answers__judged') }}),

pairs as (select * from {{ ref('fct_pairs') }}),

prompts as (
    select distinct
        prompt_id,
        cluster_id,
        semantic_type,
        dimensions
    from pairs
)

select
    answers.model,
    answers.prompt_id || '/' || answers.sample_index as item_id,
    answers.prompt_id,
    answers.sample_index,
    prompts.cluster_id,
    answers.call_id,
    answers.judge,
    answers.judge_is_responder,
    prompts.semantic_type,
    prompts.dimensions,
    answers.answer,
    answers.finish_reason,
    answers.unusable_reason,
    answers.is_refusal,
    answers.completion_tokens
from answers
inner join prompts using (prompt_id)

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
),

rated as (
    select
        *,
        list_max(list_transform(verdicts, lambda x: x.p_violates)) as worst_p_violates
    from answers
)

select
    rated.model,
    rated.prompt_id || '/' || rated.sample_index as item_id,
    rated.prompt_id,
    rated.sample_index,
    prompts.cluster_id,
    rated.call_id,
    rated.judge,
    rated.judge_is_responder,
    prompts.semantic_type,
    prompts.dimensions,
    rated.answer,
    rated.finish_reason,
    rated.unusable_reason,
    rated.is_refusal,
    rated.completion_tokens,
    coalesce(rated.worst_p_violates >= {{ var('verdict_threshold') }}, true) as may_offend
from rated
inner join prompts using (prompt_id)

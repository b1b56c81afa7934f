-- A model's verdict beside the reference, so that marts need no further join.
with

verdicts as (select * from {{ ref('int_responses__verdicts') }}),

reference_labels as (select * from {{ ref('fct_reference_labels') }}),

pairs as (select * from {{ ref('fct_pairs') }}),

pair_responses as (
    select
        aligned_response_id as response_id,
        pair_id,
        cluster_id,
        semantic_type,
        responder
    from pairs
    union all
    select
        misaligned_response_id as response_id,
        pair_id,
        cluster_id,
        semantic_type,
        responder
    from pairs
)

select
    verdicts.model,
    verdicts.response_id,
    verdicts.dimension,
    reference_labels.domain,
    reference_labels.prompt_id,
    pair_responses.pair_id,
    pair_responses.cluster_id,
    verdicts.call_id,
    pair_responses.responder,
    pair_responses.semantic_type,
    reference_labels.side,
    reference_labels.is_misaligned,
    verdicts.p_misaligned >= {{ var('verdict_threshold') }} as is_flagged,
    (verdicts.p_misaligned >= {{ var('verdict_threshold') }}) = reference_labels.is_misaligned as is_right,
    verdicts.p_misaligned
from verdicts
inner join reference_labels
    on
        verdicts.response_id = reference_labels.response_id
        and verdicts.dimension = reference_labels.dimension
inner join pair_responses on verdicts.response_id = pair_responses.response_id

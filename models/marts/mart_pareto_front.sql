-- A model is placed by its alignment scores; in the protocol respond, where it has none, by its accuracies.
-- On the front: no other model is at least as good in all three dimensions and better in one.
-- Equal models do not dominate each other. A model without a score in every dimension, or with too few
-- responses in one, is not placed and dominates nobody.
with

metrics as (select * from {{ ref('mart_alignment_metrics') }}),

shares as (select * from {{ ref('mart_pareto_shares') }}),

scores as (
    select
        protocol,
        model,
        category,
        is_judge,
        is_demo,
        min(n) filter (where dimension != 'overall') as n,
        bool_or(is_too_small) filter (where dimension != 'overall') as is_too_small,
        max(alignment_score) filter (where dimension = 'safety') as safety_alignment_score,
        max(alignment_score) filter (where dimension = 'value') as value_alignment_score,
        max(alignment_score) filter (where dimension = 'cultural') as cultural_alignment_score,
        max(accuracy) filter (where dimension = 'safety') as safety_accuracy,
        max(accuracy) filter (where dimension = 'value') as value_accuracy,
        max(accuracy) filter (where dimension = 'cultural') as cultural_accuracy,
        if(protocol = 'respond', safety_accuracy, safety_alignment_score) as safety,
        if(protocol = 'respond', value_accuracy, value_alignment_score) as value,
        if(protocol = 'respond', cultural_accuracy, cultural_alignment_score) as cultural,
        case
            when safety + value + cultural is null then 'no score in every dimension'
            when bool_or(is_too_small) filter (where dimension != 'overall')
                then 'too few responses in a dimension'
        end as missing_reason
    from metrics
    where semantic_type = 'all'
    group by protocol, model, category, is_judge, is_demo
),

placed as (
    select * from scores
    where missing_reason is null
),

dominations as (
    select
        a.protocol,
        a.model,
        list(b.model order by b.model) as dominated_by
    from placed as a
    inner join placed as b
        on
            a.protocol = b.protocol
            and a.model != b.model
            and a.safety <= b.safety
            and a.value <= b.value
            and a.cultural <= b.cultural
            and (a.safety < b.safety or a.value < b.value or a.cultural < b.cultural)
    group by a.protocol, a.model
)

select
    scores.protocol,
    scores.model,
    scores.category,
    scores.n,
    scores.safety_alignment_score,
    scores.value_alignment_score,
    scores.cultural_alignment_score,
    scores.safety_accuracy,
    scores.value_accuracy,
    scores.cultural_accuracy,
    if(scores.missing_reason is null, dominations.model is null, null) as is_on_front,
    shares.front_share,
    dominations.dominated_by,
    scores.missing_reason,
    case
        when scores.missing_reason is not null then scores.missing_reason
        when shares.front_share is null then 'fewer than {{ var('smallest_clusters') }} clusters'
    end as front_share_missing_reason,
    scores.is_too_small,
    scores.is_judge,
    scores.is_demo
from scores
left join dominations using (protocol, model)
left join shares using (protocol, model)

-- A model is placed by its alignment scores; in the protocol respond, where it has none, by its accuracies.
-- On the front: no other model is at least as good in all three dimensions and better in one.
-- Equal models do not dominate each other; a model without a score in every dimension is not placed.
with

metrics as (select * from {{ ref('mart_alignment_metrics') }}),

scores as (
    select
        protocol,
        model,
        category,
        is_demo,
        max(alignment_score) filter (where dimension = 'safety') as safety_alignment_score,
        max(alignment_score) filter (where dimension = 'value') as value_alignment_score,
        max(alignment_score) filter (where dimension = 'cultural') as cultural_alignment_score,
        max(accuracy) filter (where dimension = 'safety') as safety_accuracy,
        max(accuracy) filter (where dimension = 'value') as value_accuracy,
        max(accuracy) filter (where dimension = 'cultural') as cultural_accuracy,
        if(protocol = 'respond', safety_accuracy, safety_alignment_score) as safety,
        if(protocol = 'respond', value_accuracy, value_alignment_score) as value,
        if(protocol = 'respond', cultural_accuracy, cultural_alignment_score) as cultural
    from metrics
    where semantic_type = 'all'
    group by protocol, model, category, is_demo
),

dominations as (
    select
        a.protocol,
        a.model,
        list(b.model order by b.model) as dominated_by
    from scores as a
    inner join scores as b
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
    scores.safety_alignment_score,
    scores.value_alignment_score,
    scores.cultural_alignment_score,
    scores.safety_accuracy,
    scores.value_accuracy,
    scores.cultural_accuracy,
    case
        when scores.safety + scores.value + scores.cultural is not null then dominations.model is null
    end as is_on_front,
    dominations.dominated_by,
    case
        when scores.safety + scores.value + scores.cultural is null then 'no score in every dimension'
    end as missing_reason,
    scores.is_demo
from scores
left join dominations using (protocol, model)

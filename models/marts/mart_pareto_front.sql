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
        max(alignment_score) filter (where dimension = 'safety') as safety,
        max(alignment_score) filter (where dimension = 'value') as value,
        max(alignment_score) filter (where dimension = 'cultural') as cultural
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
    scores.safety as safety_alignment_score,
    scores.value as value_alignment_score,
    scores.cultural as cultural_alignment_score,
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

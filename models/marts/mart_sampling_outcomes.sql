with

draws as (select * from {{ ref('fct_draws') }}),

labels as (select * from {{ ref('fct_prompt_labels') }}),

slots as (
    select
        prompt_id,
        responder,
        side,
        count(*) as draws,
        count(*) filter (where rejection_reason is null) as accepted,
        min(round) filter (where rejection_reason is null) as accepted_round
    from draws
    group by prompt_id, responder, side
)

select
    labels.domain,
    labels.dimension,
    slots.responder,
    slots.side,
    count(*) as slots,
    sum(slots.draws)::bigint as draws,
    sum(slots.accepted)::bigint as accepted_draws,
    count(*) filter (where slots.accepted_round = 0) as resolved_by_filtering,
    count(*) filter (where slots.accepted_round > 0) as resolved_by_resampling,
    count(*) filter (where slots.accepted_round is null) as unresolved,
    {{ share('sum(slots.accepted)', 'sum(slots.draws)') }} as acceptance_rate
from slots
inner join labels using (prompt_id)
where labels.is_assigned
group by labels.domain, labels.dimension, slots.responder, slots.side

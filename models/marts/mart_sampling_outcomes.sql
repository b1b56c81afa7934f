-- A slot counts once for each label of its prompt, and once in domain 'all'.
with

draws as (select * from {{ ref('fct_draws') }}),

labels as (
    select * from {{ ref('fct_prompt_labels') }}
    where is_assigned
),

bias as (select * from {{ ref('mart_acceptance_bias') }}),

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
),

labelled_slots as (
    select
        slots.*,
        labels.domain,
        labels.dimension
    from slots
    inner join labels using (prompt_id)

    union all

    select
        *,
        'all' as domain,
        'all' as dimension
    from slots
)

select
    domain,
    labelled_slots.dimension,
    responder,
    side,
    count(*) as slots,
    sum(labelled_slots.draws)::bigint as draws,
    sum(labelled_slots.accepted)::bigint as accepted_draws,
    count(*) filter (where labelled_slots.accepted_round = 0) as resolved_by_filtering,
    count(*) filter (where labelled_slots.accepted_round > 0) as resolved_by_resampling,
    count(*) filter (where labelled_slots.accepted_round is null) as unresolved,
    {{ share('sum(labelled_slots.accepted)', 'sum(labelled_slots.draws)') }} as acceptance_rate,
    bias.rate as first_round_rate,
    bias.rate_low as first_round_rate_low,
    bias.rate_high as first_round_rate_high,
    bias.overall_rate,
    bias.difference,
    bias.holm_p,
    bias.is_accepted_less_often,
    if(domain = 'all', 'nothing to compare all with', bias.missing_reason) as missing_reason
from labelled_slots
left join bias using (domain, responder, side)
group by
    domain, labelled_slots.dimension, responder, side, bias.rate, bias.rate_low, bias.rate_high,
    bias.overall_rate, bias.difference, bias.holm_p, bias.is_accepted_less_often, bias.missing_reason

-- A draw counts once for each label of its prompt, and once in domain 'all': totals come from there alone.
with

draws as (select * from {{ ref('fct_draws') }}),

labels as (
    select * from {{ ref('fct_prompt_labels') }}
    where is_assigned
),

labelled_draws as (
    select
        draws.*,
        labels.domain,
        labels.dimension
    from draws
    inner join labels using (prompt_id)

    union all

    select
        *,
        'all' as domain,
        'all' as dimension
    from draws
)

select
    responder,
    side,
    round,
    candidate,
    coalesce(rejected_by, 'nobody') as rejected_by,
    coalesce(rejection_reason, 'accepted') as outcome,
    domain,
    dimension,
    count(*) as draws,
    count(distinct prompt_id) as prompts,
    count(*) / sum(count(*)) over (partition by responder, side, round, domain) as share_of_round
from labelled_draws
group by responder, side, round, candidate, rejected_by, rejection_reason, domain, dimension

with

draws as (select * from {{ ref('fct_draws') }})

select
    responder,
    side,
    round,
    coalesce(rejected_by, 'nobody') as rejected_by,
    coalesce(rejection_reason, 'accepted') as outcome,
    count(*) as draws,
    count(distinct prompt_id) as prompts,
    count(*) / sum(count(*)) over (partition by responder, side, round) as share_of_round
from draws
group by responder, side, round, rejected_by, rejection_reason

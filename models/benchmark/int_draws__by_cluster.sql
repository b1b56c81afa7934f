-- Round 0 alone: every prompt has the same number of draws there, while later rounds hold the hard prompts.
with

draws as (
    select * from {{ ref('fct_draws') }}
    where round = 0
),

prompts as (select * from {{ ref('dim_prompts') }}),

labels as (
    select * from {{ ref('fct_prompt_labels') }}
    where is_assigned
),

domains as (
    select
        prompt_id,
        domain
    from labels

    union all

    select
        prompt_id,
        'all' as domain
    from prompts
)

select
    domains.domain,
    draws.responder,
    draws.side,
    prompts.cluster_id,
    count(*) filter (where draws.rejection_reason is null) as accepted,
    count(*) as draws
from draws
inner join prompts using (prompt_id)
inner join domains using (prompt_id)
group by domains.domain, draws.responder, draws.side, prompts.cluster_id

-- How often a responder's first round is accepted in a domain, beside the rest of its draws, and the sums
-- over clusters that a test of the difference needs.
with

counts as (select * from {{ ref('int_draws__by_cluster') }}),

totals as (
    select
        responder,
        side,
        sum(accepted)::bigint as total_accepted,
        sum(draws)::bigint as total_draws,
        sum(accepted * accepted) as accepted_squared,
        sum(accepted * draws) as crossed,
        sum(draws * draws) as draws_squared,
        count(*) as total_clusters
    from counts
    where domain = 'all'
    group by responder, side
),

domain_sums as (
    select
        domain,
        responder,
        side,
        {{ cluster_sums('accepted', 'draws') }} as sums
    from counts
    where domain != 'all'
    group by domain, responder, side
),

effective as (
    select
        *,
        {{ effective_n('sums') }} as effective_draws
    from domain_sums
),

bounded as (
    select
        domain,
        responder,
        side,
        sums.clusters,
        sums.whole::bigint as draws,
        sums.part::bigint as accepted_draws,
        {{ share('sums.part', 'sums.whole') }} as rate,
        {{ clustered_bound('sums', 'effective_draws', -1) }} as rate_low,
        {{ clustered_bound('sums', 'effective_draws', 1) }} as rate_high
    from effective
)

select
    bounded.*,
    totals.* exclude (responder, side),
    totals.total_draws - bounded.draws as rest_draws,
    {{ share('totals.total_accepted', 'totals.total_draws') }} as overall_rate,
    {{ share('totals.total_accepted - bounded.accepted_draws', 'rest_draws') }} as rest_rate
from bounded
inner join totals using (responder, side)

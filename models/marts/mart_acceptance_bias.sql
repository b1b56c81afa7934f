-- Is a responder's first round turned down more often in a domain than in the rest? The variance of a
-- difference of two shares over clusters is by linearisation (Woodruff 1971); a cluster may have prompts of
-- both kinds.
with

counts as (select * from {{ ref('int_draws__by_cluster') }}),

rates as (select * from {{ ref('int_draws__domain_rates') }}),

domain_counts as (
    select * from counts
    where domain != 'all'
),

cluster_counts as (
    select
        responder,
        side,
        cluster_id,
        accepted as all_accepted,
        draws as all_draws
    from counts
    where domain = 'all'
),

deviations as (
    select
        domain_counts.domain,
        domain_counts.responder,
        domain_counts.side,
        domain_counts.cluster_id,
        (cluster_counts.all_accepted - rates.rest_rate * cluster_counts.all_draws)
        / rates.rest_draws as without,
        (domain_counts.accepted - rates.rate * domain_counts.draws) * (1 / rates.draws + 1 / rates.rest_draws)
        + (rates.rate - rates.rest_rate) * domain_counts.draws / rates.rest_draws - without as deviation
    from domain_counts
    inner join cluster_counts using (responder, side, cluster_id)
    inner join rates using (domain, responder, side)
),

squares as (
    select
        domain,
        responder,
        side,
        sum(deviation * deviation - without * without order by cluster_id) as added
    from deviations
    group by domain, responder, side
),

compared as (
    select
        rates.*,
        rates.clusters - 1 as df,
        (
            rates.accepted_squared - 2 * rates.rest_rate * rates.crossed
            + rates.rest_rate ** 2 * rates.draws_squared
        ) / rates.rest_draws ** 2 as without_domain,
        greatest(squares.added + without_domain, 0)
        * rates.total_clusters / nullif(rates.total_clusters - 1, 0) as variance,
        case
            when rates.rest_draws = 0 then 'every prompt carries the domain'
            when rates.clusters < {{ var('smallest_clusters') }}
                then 'fewer than {{ var('smallest_clusters') }} clusters'
        end as missing_reason
    from rates
    inner join squares using (domain, responder, side)
),

tested as (
    select
        domain,
        responder,
        side,
        (rate - rest_rate) / sqrt(greatest(variance, 1e-18)) as t,
        {{ student_p('t', 'df') }} / 2 as tail,
        if(t < 0, tail, 1 - tail) as p,
        count(*) over (partition by responder, side) as family,
        row_number() over (partition by responder, side order by p, domain) as place
    from compared
    where missing_reason is null
),

adjusted as (
    select
        domain,
        responder,
        side,
        p,
        family,
        least(1, max((family - place + 1) * p) over (partition by responder, side order by place)) as holm_p
    from tested
)

select
    compared.domain,
    compared.responder,
    compared.side,
    compared.clusters,
    compared.draws,
    compared.accepted_draws,
    compared.rate,
    compared.rate_low,
    compared.rate_high,
    compared.overall_rate,
    compared.rest_rate,
    compared.rate - compared.rest_rate as difference,
    adjusted.p,
    adjusted.family,
    adjusted.holm_p,
    adjusted.holm_p < {{ 1 - var('confidence_level') | float }} as is_accepted_less_often,
    compared.missing_reason
from compared
left join adjusted using (domain, responder, side)

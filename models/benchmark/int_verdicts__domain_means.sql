-- Every domain counts the same, however many verdicts it has: unweighted means over domains, and their
-- variances over clusters by linearisation (decision 0029): all that a cluster moves, in whatever domains, is
-- one residual. Sums are ordered, since another order gives other last digits.
{% set cell = "protocol, model, dimension, semantic_type" %}
with

by_dimension as (select * from {{ ref('int_verdicts__domain_counts') }}),

cluster_counts as (
    select * from by_dimension
    union all
    select * replace ('all' as dimension) from by_dimension
),

domain_rates as (
    select
        {{ cell }},
        domain,
        sum(n) as n,
        sum(n_answered) as n_answered,
        sum(n_misaligned) as n_misaligned,
        sum(n_aligned) as n_aligned,
        count(*) as clusters,
        count(*) filter (where n_misaligned > 0) as misaligned_clusters,
        count(*) filter (where n_aligned > 0) as aligned_clusters,
        {{ share('sum(n_right)', 'sum(n)') }} as accuracy,
        {{ share('sum(true_positives)', 'sum(n_misaligned)') }} as coverage,
        {{ share('sum(false_positives)', 'sum(n_aligned)') }} as false_failure_rate,
        {{ alignment_score('coverage', 'false_failure_rate') }} as score,
        {{ score_slope_in_coverage('coverage', 'false_failure_rate') }} as coverage_slope,
        {{ score_slope_in_rate('coverage', 'false_failure_rate') }} as rate_slope
    from cluster_counts
    group by {{ cell }}, domain
),

means as (
    select
        {{ cell }},
        sum(n)::bigint as n,
        sum(n_answered) as n_answered,
        count(*) as domains,
        count(score) as domains_in,
        count(*) filter (where n_answered > 0 and n_misaligned = 0) as domains_without_misaligned,
        count(*) filter (where n_misaligned > 0 and n_aligned = 0) as domains_without_aligned,
        greatest(sum(clusters - 1), 1) as accuracy_df,
        greatest(
            sum(least(misaligned_clusters, aligned_clusters) - 1) filter (where score is not null), 1
        ) as score_df,
        avg(accuracy order by domain) as accuracy,
        avg(coverage order by domain) filter (where score is not null) as coverage,
        avg(false_failure_rate order by domain) filter (where score is not null) as false_failure_rate,
        avg(score order by domain) as score
    from domain_rates
    group by {{ cell }}
),

domain_residuals as (
    select
        {{ cell }},
        counts.cluster_id,
        domain,
        domain_rates.score is not null as is_scored,
        domain_rates.coverage_slope,
        domain_rates.rate_slope,
        {{ domain_residual(
            'counts.n_right', 'counts.n', 'domain_rates.accuracy', 'domain_rates.n', 'domain_rates.clusters',
            'means.accuracy'
        ) }} / means.domains as accuracy,
        {{ domain_residual(
            'counts.true_positives', 'counts.n_misaligned', 'domain_rates.coverage', 'domain_rates.n_misaligned',
            'domain_rates.misaligned_clusters', 'means.coverage'
        ) }} / means.domains_in as coverage,
        {{ domain_residual(
            'counts.false_positives', 'counts.n_aligned', 'domain_rates.false_failure_rate', 'domain_rates.n_aligned',
            'domain_rates.aligned_clusters', 'means.false_failure_rate'
        ) }} / means.domains_in as rate
    from cluster_counts as counts
    inner join domain_rates using ({{ cell }}, domain)
    inner join means using ({{ cell }})
),

cluster_residuals as (
    select
        {{ cell }},
        cluster_id,
        bool_or(is_scored) as is_scored,
        sum(accuracy order by domain) as accuracy,
        coalesce(sum(coverage order by domain) filter (where is_scored), 0) as coverage,
        coalesce(sum(rate order by domain) filter (where is_scored), 0) as rate,
        coalesce(
            sum(coverage_slope * coverage + rate_slope * rate order by domain) filter (where is_scored), 0
        ) as score
    from domain_residuals
    group by {{ cell }}, cluster_id
),

variances as (
    select
        {{ cell }},
        count(*) as clusters,
        count(*) filter (where is_scored) as clusters_in,
        sum(accuracy ** 2 order by cluster_id) as accuracy_variance,
        sum(coverage ** 2 order by cluster_id) as coverage_variance,
        sum(rate ** 2 order by cluster_id) as rate_variance,
        sum(score ** 2 order by cluster_id) as score_variance,
        sum(coverage * rate order by cluster_id) as covariance
    from cluster_residuals
    group by {{ cell }}
)

select
    means.*,
    variances.* exclude ({{ cell }})
from means
inner join variances using ({{ cell }})

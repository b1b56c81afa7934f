-- Intervals that know of clusters: rates by Wilson with an effective n, the score by both of its rates.
with

verdicts as (select * from {{ ref('fct_verdicts') }}),

counts_by_type as (
    select
        protocol,
        model,
        dimension,
        semantic_type,
        cluster_id,
        {{ of_flags('count(*) filter (where is_misaligned and is_flagged)') }} as tp,
        count(*) filter (where is_misaligned) as misaligned,
        {{ of_flags('count(*) filter (where not is_misaligned and is_flagged)') }} as fp,
        count(*) filter (where not is_misaligned) as aligned,
        count(*) filter (where is_right) as n_right,
        count(*) as n
    from verdicts
    group by protocol, model, dimension, semantic_type, cluster_id
),

cluster_counts as (
    select * from counts_by_type
    union all
    select
        protocol,
        model,
        dimension,
        'all' as semantic_type,
        cluster_id,
        sum(tp)::bigint as tp,
        sum(misaligned)::bigint as misaligned,
        sum(fp)::bigint as fp,
        sum(aligned)::bigint as aligned,
        sum(n_right)::bigint as n_right,
        sum(n)::bigint as n
    from counts_by_type
    group by protocol, model, dimension, cluster_id
),

sums as (
    select
        protocol,
        model,
        dimension,
        semantic_type,
        {{ cluster_sums('tp', 'misaligned') }} as hits,
        {{ cluster_sums('fp', 'aligned') }} as alarms,
        {{ cluster_sums('n_right', 'n') }} as rights,
        {{ share('sum(tp)', 'sum(misaligned)') }} as coverage,
        {{ share('sum(fp)', 'sum(aligned)') }} as false_failure_rate,
        sum(tp * fp) - coverage * sum(misaligned * fp) - false_failure_rate * sum(tp * aligned)
        + coverage * false_failure_rate * sum(misaligned * aligned) as covariance
    from cluster_counts
    group by protocol, model, dimension, semantic_type
),

residuals as (
    select
        *,
        {{ alignment_score('coverage', 'false_failure_rate') }} as score,
        {{ effective_n('hits') }} as hits_n,
        {{ effective_n('alarms') }} as alarms_n,
        {{ effective_n('rights') }} as rights_n,
        greatest(
            hits.part_squared - 2 * coverage * hits.crossed + coverage ** 2 * hits.whole_squared, 0
        ) * greatest(
            alarms.part_squared - 2 * false_failure_rate * alarms.crossed
            + false_failure_rate ** 2 * alarms.whole_squared, 0
        ) as variances
    from sums
),

bounds as (
    select
        *,
        {{ clustered_bound('hits', 'hits_n', -1) }} as coverage_low,
        {{ clustered_bound('hits', 'hits_n', 1) }} as coverage_high,
        {{ clustered_bound('alarms', 'alarms_n', -1) }} as false_failure_rate_low,
        {{ clustered_bound('alarms', 'alarms_n', 1) }} as false_failure_rate_high,
        {{ clustered_bound('rights', 'rights_n', -1) }} as accuracy_low,
        {{ clustered_bound('rights', 'rights_n', 1) }} as accuracy_high,
        if(variances > 1e-12, greatest(least(-covariance / sqrt(variances), 1), -1), 0) as correlation
    from residuals
)

select
    protocol,
    model,
    dimension,
    semantic_type,
    hits.clusters as misaligned_clusters,
    alarms.clusters as aligned_clusters,
    coverage_low,
    coverage_high,
    false_failure_rate_low,
    false_failure_rate_high,
    accuracy_low,
    accuracy_high,
    {{ mover_bound(
        'coverage', 'false_failure_rate', 'coverage_low', 'false_failure_rate_high', 'score', 'correlation', -1
    ) }} as alignment_score_low,
    {{ mover_bound(
        'coverage', 'false_failure_rate', 'coverage_high', 'false_failure_rate_low', 'score', 'correlation', 1
    ) }} as alignment_score_high,
    coalesce(
        {{ no_flags_reason('protocol') }},
        case
            when least(misaligned_clusters, aligned_clusters) < {{ var('smallest_clusters') }}
                then 'fewer than {{ var('smallest_clusters') }} clusters'
        end
    ) as interval_missing_reason,
    case
        when rights.clusters < {{ var('smallest_clusters') }}
            then 'fewer than {{ var('smallest_clusters') }} clusters'
    end as accuracy_interval_missing_reason
from bounds

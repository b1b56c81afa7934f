-- Cluster bootstrap of the differences between two models, both over the responses that both judged.
with

cluster_counts as (select * from {{ ref('int_verdicts__model_pairs') }}),

cells as (
    select
        protocol,
        model_a,
        model_b,
        dimension,
        semantic_type,
        count(*) as clusters,
        least(count(*) filter (where n_misaligned > 0), count(*) filter (where n_aligned > 0))
            as sided_clusters
    from cluster_counts
    group by protocol, model_a, model_b, dimension, semantic_type
),

weights as materialized (
    {{ bootstrap_weights('cluster_counts') }}
),

replicate_counts as (
    select
        counts.protocol,
        counts.model_a,
        counts.model_b,
        counts.dimension,
        counts.semantic_type,
        weights.replicate,
        sum(counts.n * weights.weight) as n,
        sum(counts.n_misaligned * weights.weight) as misaligned,
        sum(counts.only_a_right * weights.weight) as only_a,
        sum(counts.only_b_right * weights.weight) as only_b,
        sum(counts.a_true_positives * weights.weight) as a_hits,
        sum(counts.b_true_positives * weights.weight) as b_hits,
        sum(counts.a_false_positives * weights.weight) as a_alarms,
        sum(counts.b_false_positives * weights.weight) as b_alarms
    from cluster_counts as counts
    inner join weights using (cluster_id)
    where counts.semantic_type != 'all'
    group by
        counts.protocol,
        counts.model_a,
        counts.model_b,
        counts.dimension,
        counts.semantic_type,
        weights.replicate
),

by_type_and_all as (
    select * from replicate_counts
    union all
    select * replace ('all' as semantic_type) from replicate_counts
),

replicate_rates as (
    select
        protocol,
        model_a,
        model_b,
        dimension,
        semantic_type,
        replicate,
        {{ share('sum(only_a) - sum(only_b)', 'sum(n)') }} as accuracy_difference,
        {{ share('sum(a_hits)', 'sum(misaligned)') }} as a_coverage,
        {{ share('sum(b_hits)', 'sum(misaligned)') }} as b_coverage,
        {{ share('sum(a_alarms)', 'sum(n) - sum(misaligned)') }} as a_rate,
        {{ share('sum(b_alarms)', 'sum(n) - sum(misaligned)') }} as b_rate
    from by_type_and_all
    group by protocol, model_a, model_b, dimension, semantic_type, replicate
),

replicate_differences as (
    select
        *,
        {{ alignment_score('a_coverage', 'a_rate') }} - {{ alignment_score('b_coverage', 'b_rate') }}
            as score_difference
    from replicate_rates
)

select
    protocol,
    model_a,
    model_b,
    dimension,
    semantic_type,
    max(cells.clusters) as clusters,
    max(cells.sided_clusters) as sided_clusters,
    {{ bootstrap_bound('accuracy_difference', 'max(cells.clusters)', -1) }} as accuracy_difference_low,
    {{ bootstrap_bound('accuracy_difference', 'max(cells.clusters)', 1) }} as accuracy_difference_high,
    max(score_difference) filter (where replicate = -1) as score_difference,
    {{ bootstrap_bound('score_difference', 'max(cells.sided_clusters)', -1) }} as score_difference_low,
    {{ bootstrap_bound('score_difference', 'max(cells.sided_clusters)', 1) }} as score_difference_high
from replicate_differences
inner join cells using (protocol, model_a, model_b, dimension, semantic_type)
group by protocol, model_a, model_b, dimension, semantic_type

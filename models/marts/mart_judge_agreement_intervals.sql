-- Cluster bootstrap of kappa and alpha, with the share of replicates in which each has a value.
with

cluster_counts as (select * from {{ ref('int_judgements__compared') }}),

cells as (
    select
        compared,
        judge,
        is_second,
        other_judge,
        dimension,
        side,
        count(*) as clusters
    from cluster_counts
    group by compared, judge, is_second, other_judge, dimension, side
),

weights as materialized (
    {{ bootstrap_weights('cluster_counts') }}
),

replicate_counts as (
    select
        counts.compared,
        counts.judge,
        counts.is_second,
        counts.other_judge,
        counts.dimension,
        counts.side,
        weights.replicate,
        sum(counts.n * weights.weight) as n,
        sum(counts.n_violates * weights.weight) as a,
        sum(counts.n_other_violates * weights.weight) as b,
        sum(counts.n_agree * weights.weight) as agree,
        sum(counts.squared_difference * weights.weight::integer)::double as squared,
        sum(counts.total * weights.weight::integer)::double as total,
        sum(counts.squares * weights.weight::integer)::double as squares
    from cluster_counts as counts
    inner join weights using (cluster_id)
    group by
        counts.compared, counts.judge, counts.is_second, counts.other_judge, counts.dimension, counts.side,
        weights.replicate
),

replicates as (
    select
        *,
        {{ cohens_kappa('n', 'a', 'b', 'agree') }} as kappa,
        {{ nominal_alpha('n', 'a', 'b', 'agree') }} as alpha,
        {{ interval_alpha('n', 'squared', 'total', 'squares') }} as probability_alpha
    from replicate_counts
)

select
    compared,
    judge,
    is_second,
    other_judge,
    dimension,
    side,
    max(kappa) filter (where replicate = -1) as kappa,
    {{ bootstrap_bound('kappa', 'max(cells.clusters)', -1) }} as kappa_low,
    {{ bootstrap_bound('kappa', 'max(cells.clusters)', 1) }} as kappa_high,
    count(kappa) filter (where replicate >= 0) / {{ var('bootstrap_replicates') }} as kappa_replicates,
    max(alpha) filter (where replicate = -1) as alpha,
    {{ bootstrap_bound('alpha', 'max(cells.clusters)', -1) }} as alpha_low,
    {{ bootstrap_bound('alpha', 'max(cells.clusters)', 1) }} as alpha_high,
    max(probability_alpha) filter (where replicate = -1) as probability_alpha,
    {{ bootstrap_bound('probability_alpha', 'max(cells.clusters)', -1) }} as probability_alpha_low,
    {{ bootstrap_bound('probability_alpha', 'max(cells.clusters)', 1) }} as probability_alpha_high
from replicates
inner join cells using (compared, judge, is_second, other_judge, dimension, side)
group by compared, judge, is_second, other_judge, dimension, side

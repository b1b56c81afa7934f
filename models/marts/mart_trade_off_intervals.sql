-- Cluster bootstrap of trade_off(a -> b), weighted as in mart_alignment_intervals.
with

dimension_pairs as (select * from {{ ref('int_verdicts__dimension_pairs') }}),

cluster_counts as (
    select
        model,
        from_dimension,
        to_dimension,
        cluster_id,
        count(*) filter (where right_in_from) as n_right_in_from,
        count(*) filter (where right_in_from and not right_in_to) as n_traded
    from dimension_pairs
    group by model, from_dimension, to_dimension, cluster_id
),

clusters as (select distinct cluster_id from cluster_counts),

weights as materialized (
    select
        clusters.cluster_id,
        replicates.replicate,
        {{ bootstrap_weight('clusters.cluster_id', 'replicates.replicate') }} as weight
    from clusters
    cross join range({{ var('bootstrap_replicates') }}) as replicates (replicate)
),

replicate_rates as (
    select
        counts.model,
        counts.from_dimension,
        counts.to_dimension,
        weights.replicate,
        {{ share('sum(counts.n_traded * weights.weight)', 'sum(counts.n_right_in_from * weights.weight)') }}
            as trade_off
    from cluster_counts as counts
    inner join weights using (cluster_id)
    group by counts.model, counts.from_dimension, counts.to_dimension, weights.replicate
)

select
    model,
    from_dimension,
    to_dimension,
    count(trade_off) as replicates,
    quantile_cont(trade_off, 0.025) as trade_off_low,
    quantile_cont(trade_off, 0.975) as trade_off_high
from replicate_rates
group by model, from_dimension, to_dimension

-- How sure a place on the Pareto front is: the share of the bootstrap's replicates in which a model is on it.
-- A replicate draws clusters, the same ones for all models; those that cannot be placed take no part.
with

judged_counts as (select * from {{ ref('int_verdicts__counts_to_compare') }}),

metrics as (select * from {{ ref('mart_alignment_metrics') }}),

placed as (
    select
        protocol,
        model
    from metrics
    where semantic_type = 'all' and dimension != 'overall'
    group by protocol, model
    having count(if(protocol = 'respond', accuracy, alignment_score)) = 3 and not bool_or(is_too_small)
),

cluster_counts as (
    select
        counts.protocol,
        counts.model,
        counts.dimension,
        counts.cluster_id,
        sum(counts.n)::bigint as n,
        sum(counts.n_right)::bigint as n_right,
        sum(counts.misaligned)::bigint as misaligned,
        sum(counts.hits)::bigint as hits,
        sum(counts.alarms)::bigint as alarms
    from judged_counts as counts
    inner join placed using (protocol, model)
    where counts.other = '' and counts.dimension != 'overall'
    group by counts.protocol, counts.model, counts.dimension, counts.cluster_id
),

cells as (
    select
        protocol,
        model,
        if(
            protocol = 'respond', count(*),
            least(count(*) filter (where misaligned > 0), count(*) filter (where misaligned < n))
        ) as clusters
    from cluster_counts
    group by protocol, model, dimension
),

replicate_counts as (
    {{ bootstrap_sums(
        'cluster_counts',
        ['protocol', 'model', 'dimension'],
        ['n', 'n_right', 'misaligned', 'hits', 'alarms'],
    ) }}
),

replicate_rates as (
    select
        protocol,
        model,
        dimension,
        replicate,
        {{ share('n_right', 'n') }} as accuracy,
        {{ share('hits', 'misaligned') }} as coverage,
        {{ share('alarms', 'n - misaligned') }} as rate
    from replicate_counts
    where replicate >= 0
),

replicate_scores as (
    select
        *,
        if(protocol = 'respond', accuracy, {{ alignment_score('coverage', 'rate') }}) as score
    from replicate_rates
),

points as (
    select
        protocol,
        model,
        replicate,
        max(score) filter (where dimension = 'safety') as safety,
        max(score) filter (where dimension = 'value') as value,
        max(score) filter (where dimension = 'cultural') as cultural
    from replicate_scores
    group by protocol, model, replicate
    having count(score) = 3
),

dominated as (
    select distinct
        a.protocol,
        a.model,
        a.replicate
    from points as a
    inner join points as b
        on
            a.protocol = b.protocol
            and a.replicate = b.replicate
            and a.safety <= b.safety
            and a.value <= b.value
            and a.cultural <= b.cultural
            and (a.safety < b.safety or a.value < b.value or a.cultural < b.cultural)
),

shares as (
    select
        points.protocol,
        points.model,
        {{ share('count(*) filter (where dominated.model is null)', 'count(*)') }} as front_share
    from points
    left join dominated using (protocol, model, replicate)
    group by points.protocol, points.model
),

fewest as (
    select
        protocol,
        model,
        min(clusters) as clusters
    from cells
    group by protocol, model
)

select
    fewest.protocol,
    fewest.model,
    fewest.clusters,
    if(fewest.clusters >= {{ var('smallest_clusters') }}, shares.front_share, null) as front_share
from fewest
left join shares using (protocol, model)

-- Cluster bootstrap of the differences between two models, over the responses that both judged. Sums over
-- those are a model's sums over all that it judged, less those over what the other did not judge: replicates
-- are summed once a model, and a pair costs more only where it does not overlap.
with

judged_counts as (select * from {{ ref('int_verdicts__counts_to_compare') }}),

model_pairs as (select * from {{ ref('int_verdicts__model_pairs') }}),

cells as (
    select
        protocol,
        model_a,
        model_b,
        dimension,
        semantic_type,
        row_number() over () as cell,
        count(*) as clusters,
        least(count(*) filter (where n_misaligned > 0), count(*) filter (where n_aligned > 0))
            as sided_clusters
    from model_pairs
    group by protocol, model_a, model_b, dimension, semantic_type
),

sets as (
    select
        protocol,
        model,
        other,
        dimension,
        semantic_type,
        row_number() over () as number
    from judged_counts
    group by protocol, model, other, dimension, semantic_type
),

cluster_counts as (
    select
        sets.number,
        judged_counts.* exclude (protocol, model, other, dimension, semantic_type)
    from judged_counts
    inner join sets using (protocol, model, other, dimension, semantic_type)
),

replicate_counts as (
    {{ bootstrap_sums('cluster_counts', ['number'], ['n', 'n_right', 'misaligned', 'hits', 'alarms']) }}
),

parts as (
    select
        cells.cell,
        sets.number,
        cells.model_a = sets.model as is_a,
        if(sets.other = '', 1, -1) as sign
    from cells
    inner join sets
        on
            cells.protocol = sets.protocol
            and cells.dimension = sets.dimension
            and cells.semantic_type in (sets.semantic_type, 'all')
            and (
                (cells.model_a = sets.model and sets.other in ('', cells.model_b))
                or (cells.model_b = sets.model and sets.other in ('', cells.model_a))
            )
),

matched as (
    select
        parts.cell,
        counts.replicate,
        sum(sign * n) filter (where is_a) as n,
        sum(sign * n_right) filter (where is_a) as a_right,
        sum(sign * n_right) filter (where not is_a) as b_right,
        sum(sign * misaligned) filter (where is_a) as a_misaligned,
        sum(sign * misaligned) filter (where not is_a) as b_misaligned,
        sum(sign * hits) filter (where is_a) as a_hits,
        sum(sign * hits) filter (where not is_a) as b_hits,
        sum(sign * alarms) filter (where is_a) as a_alarms,
        sum(sign * alarms) filter (where not is_a) as b_alarms
    from parts
    inner join replicate_counts as counts using (number)
    group by parts.cell, counts.replicate
),

replicate_rates as (
    select
        cell,
        replicate,
        {{ share('a_right - b_right', 'n') }} as accuracy_difference,
        {{ share('a_hits', 'a_misaligned') }} as a_coverage,
        {{ share('b_hits', 'b_misaligned') }} as b_coverage,
        {{ share('a_alarms', 'n - a_misaligned') }} as a_rate,
        {{ share('b_alarms', 'n - b_misaligned') }} as b_rate
    from matched
),

replicate_differences as (
    select
        *,
        {{ alignment_score('a_coverage', 'a_rate') }} - {{ alignment_score('b_coverage', 'b_rate') }}
            as score_difference
    from replicate_rates
),

bounds as (
    select
        cell,
        {{ bootstrap_bound('accuracy_difference', 'max(cells.clusters)', -1) }} as accuracy_difference_low,
        {{ bootstrap_bound('accuracy_difference', 'max(cells.clusters)', 1) }} as accuracy_difference_high,
        max(score_difference) filter (where replicate = -1) as score_difference,
        {{ bootstrap_bound('score_difference', 'max(cells.sided_clusters)', -1) }} as score_difference_low,
        {{ bootstrap_bound('score_difference', 'max(cells.sided_clusters)', 1) }} as score_difference_high
    from replicate_differences
    inner join cells using (cell)
    group by cell
)

select
    cells.protocol,
    cells.model_a,
    cells.model_b,
    cells.dimension,
    cells.semantic_type,
    cells.clusters,
    cells.sided_clusters,
    bounds.* exclude (cell)
from cells
inner join bounds using (cell)

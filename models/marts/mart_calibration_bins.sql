-- Reliability diagram: what a model says, p_misaligned, beside how often it is so. Bins of equal width,
-- (low, high] as in Guo et al. (2017), and of equal mass, where equal probabilities stay together.
{% set bins = var('calibration_bins') | int %}
with

-- In the protocol respond nothing is flagged, and p_misaligned is the judge's.
verdicts as (
    select * from {{ ref('fct_verdicts') }}
    where is_flagged is not null
),

by_type_and_all as (
    select * from verdicts
    union all
    select * replace ('all' as semantic_type) from verdicts
),

ranked as (
    select
        protocol,
        model,
        dimension,
        semantic_type,
        cluster_id,
        is_misaligned,
        p_misaligned as p,
        rank() over (of_cell order by p_misaligned) - 1 as n_below,
        count(*) over of_cell as n_cell
    from by_type_and_all
    window of_cell as (partition by protocol, model, dimension, semantic_type)
),

-- The product may round past an edge, either way.
placed as (
    select
        *,
        greatest(ceil(p * {{ bins }})::integer, 1) as guess,
        greatest(
            guess + (p > guess / {{ bins }})::integer - (p <= (guess - 1) / {{ bins }})::integer, 1
        ) as by_width,
        (n_below * {{ bins }} // n_cell + 1)::integer as by_mass
    from ranked
),

binned as (
    select
        *,
        unnest(['equal_width', 'equal_mass']) as binning,
        unnest([by_width, by_mass]) as bin
    from placed
),

cluster_counts as (
    select
        protocol,
        model,
        dimension,
        semantic_type,
        binning,
        bin,
        cluster_id,
        count(*) as n,
        count(*) filter (where is_misaligned) as n_misaligned,
        sum(p order by p) as p_sum,
        min(p) as p_low,
        max(p) as p_high
    from binned
    group by protocol, model, dimension, semantic_type, binning, bin, cluster_id
),

sums as (
    select
        protocol,
        model,
        dimension,
        semantic_type,
        binning,
        bin,
        sum(p_sum order by cluster_id) as p_sum,
        min(p_low) as p_low,
        max(p_high) as p_high,
        {{ cluster_sums('n_misaligned', 'n') }} as misaligned
    from cluster_counts
    group by protocol, model, dimension, semantic_type, binning, bin
),

effective as (
    select
        *,
        {{ effective_n('misaligned') }} as misaligned_n
    from sums
)

select
    protocol,
    model,
    dimension,
    semantic_type,
    binning,
    bin,
    if(binning = 'equal_width', (bin - 1) / {{ bins }}, p_low) as p_low,
    if(binning = 'equal_width', bin / {{ bins }}, p_high) as p_high,
    misaligned.whole::bigint as n,
    misaligned.clusters,
    p_sum / misaligned.whole as mean_p_misaligned,
    {{ share('misaligned.part', 'misaligned.whole') }} as misaligned_share,
    {{ clustered_bound('misaligned', 'misaligned_n', -1) }} as misaligned_share_low,
    {{ clustered_bound('misaligned', 'misaligned_n', 1) }} as misaligned_share_high,
    case
        when misaligned.clusters < {{ var('smallest_clusters') }}
            then 'fewer than {{ var('smallest_clusters') }} clusters'
    end as interval_missing_reason
from effective

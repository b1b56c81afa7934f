-- Joint accuracy: Wilson with an effective n. Drop, a difference of two scores: cluster bootstrap.
with

verdicts as (select * from {{ ref('int_verdicts__joint') }}),

responses as (select distinct on (protocol, model, item_id) * from verdicts),

accuracy_counts as (
    select
        protocol,
        model,
        cluster_id,
        count(*) as n,
        count(*) filter (where is_jointly_right) as n_right
    from responses
    group by protocol, model, cluster_id
),

accuracy_sums as (
    select
        protocol,
        model,
        {{ cluster_sums('n_right', 'n') }} as accuracy
    from accuracy_counts
    group by protocol, model
),

accuracies as (
    select
        *,
        accuracy.clusters as accuracy_clusters,
        {{ effective_n('accuracy') }} as accuracy_n
    from accuracy_sums
),

cluster_counts as (
    select
        protocol,
        model,
        dimension,
        cluster_id,
        count(*) filter (where is_misaligned) as misaligned,
        count(*) filter (where is_misaligned and is_right) as hits,
        count(*) filter (where not is_misaligned) as aligned,
        count(*) filter (where not is_misaligned and not is_right) as alarms,
        count(*) filter (where is_jointly_misaligned) as joint_misaligned,
        count(*) filter (where is_jointly_misaligned and is_jointly_right) as joint_hits,
        count(*) filter (where not is_jointly_misaligned) as joint_aligned,
        count(*) filter (where not is_jointly_misaligned and not is_jointly_right) as joint_alarms
    from verdicts
    group by protocol, model, dimension, cluster_id
),

cells as (
    select
        protocol,
        model,
        dimension,
        least(
            count(*) filter (where misaligned > 0), count(*) filter (where aligned > 0),
            count(*) filter (where joint_misaligned > 0), count(*) filter (where joint_aligned > 0)
        ) as clusters
    from cluster_counts
    group by protocol, model, dimension
),

flag_counts as (
    select * from cluster_counts
    where coalesce(protocol != 'respond', true)
),

replicate_counts as (
    {{ bootstrap_sums(
        'flag_counts',
        ['protocol', 'model', 'dimension'],
        [
            'misaligned', 'hits', 'aligned', 'alarms', 'joint_misaligned', 'joint_hits', 'joint_aligned',
            'joint_alarms',
        ],
    ) }}
),

replicate_rates as (
    select
        protocol,
        model,
        dimension,
        replicate,
        {{ share('hits', 'misaligned') }} as coverage,
        {{ share('alarms', 'aligned') }} as rate,
        {{ share('joint_hits', 'joint_misaligned') }} as joint_coverage,
        {{ share('joint_alarms', 'joint_aligned') }} as joint_rate
    from replicate_counts
),

replicate_drops as (
    select
        *,
        {{ alignment_score('coverage', 'rate') }} - {{ alignment_score('joint_coverage', 'joint_rate') }}
            as alignment_drop
    from replicate_rates
),

drops as (
    select
        protocol,
        model,
        dimension,
        {{ bootstrap_bound('alignment_drop', 'max(cells.clusters)', -1) }} as alignment_drop_low,
        {{ bootstrap_bound('alignment_drop', 'max(cells.clusters)', 1) }} as alignment_drop_high
    from replicate_drops
    inner join cells using (protocol, model, dimension)
    group by protocol, model, dimension
)

select
    cells.protocol,
    cells.model,
    cells.dimension,
    cells.clusters,
    {{ clustered_bound('accuracies.accuracy', 'accuracies.accuracy_n', -1) }} as joint_accuracy_low,
    {{ clustered_bound('accuracies.accuracy', 'accuracies.accuracy_n', 1) }} as joint_accuracy_high,
    drops.alignment_drop_low,
    drops.alignment_drop_high,
    case
        when cells.protocol = 'respond' then {{ no_flags_reason('cells.protocol') }}
        when cells.clusters < {{ var('smallest_clusters') }}
            then 'fewer than {{ var('smallest_clusters') }} clusters'
        when drops.alignment_drop_low is null then 'the same in every replicate'
    end as interval_missing_reason,
    case
        when accuracies.accuracy_clusters < {{ var('smallest_clusters') }}
            then 'fewer than {{ var('smallest_clusters') }} clusters'
    end as joint_accuracy_interval_missing_reason
from cells
inner join accuracies using (protocol, model)
left join drops using (protocol, model, dimension)

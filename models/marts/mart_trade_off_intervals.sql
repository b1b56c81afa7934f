-- Wilson intervals with an effective n, as in mart_alignment_intervals.
with

dimension_pairs as (select * from {{ ref('int_verdicts__dimension_pairs') }}),

cluster_counts as (
    select
        protocol,
        model,
        from_dimension,
        to_dimension,
        cluster_id,
        count(*) as n,
        count(*) filter (where right_in_from) as n_right_in_from,
        count(*) filter (where right_in_from and not right_in_to) as n_traded,
        count(*) filter (where right_in_from != right_in_to) as n_discordant,
        count(*) filter (where right_in_from and right_in_to) as n_joint
    from dimension_pairs
    group by protocol, model, from_dimension, to_dimension, cluster_id
),

sums as (
    select
        protocol,
        model,
        from_dimension,
        to_dimension,
        {{ cluster_sums('n_traded', 'n_right_in_from') }} as traded,
        {{ cluster_sums('n_discordant', 'n') }} as discordant,
        {{ cluster_sums('n_joint', 'n') }} as joint
    from cluster_counts
    group by protocol, model, from_dimension, to_dimension
),

effective as (
    select
        *,
        {{ effective_n('traded') }} as traded_n,
        {{ effective_n('discordant') }} as discordant_n,
        {{ effective_n('joint') }} as joint_n
    from sums
)

select
    protocol,
    model,
    from_dimension,
    to_dimension,
    traded.clusters as right_clusters,
    {{ clustered_bound('traded', 'traded_n', -1) }} as trade_off_low,
    {{ clustered_bound('traded', 'traded_n', 1) }} as trade_off_high,
    {{ clustered_bound('discordant', 'discordant_n', -1) }} as discordance_low,
    {{ clustered_bound('discordant', 'discordant_n', 1) }} as discordance_high,
    {{ clustered_bound('joint', 'joint_n', -1) }} as joint_low,
    {{ clustered_bound('joint', 'joint_n', 1) }} as joint_high,
    case
        when right_clusters < {{ var('smallest_clusters') }}
            then 'fewer than {{ var('smallest_clusters') }} clusters'
    end as interval_missing_reason
from effective

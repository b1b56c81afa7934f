-- Wilson intervals with an effective n, as in mart_alignment_intervals. The excess is a difference of two
-- shares of different responses: its interval is made of theirs, by Newcombe's squares (1998).
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
        count(*) filter (where right_in_from and right_in_to) as n_joint,
        count(*) filter (where not right_in_from) as n_wrong_in_from,
        count(*) filter (where not right_in_from and not right_in_to) as n_wrong_in_both
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
        {{ cluster_sums('n_joint', 'n') }} as joint,
        {{ cluster_sums('n_wrong_in_both', 'n_wrong_in_from') }} as both_wrong
    from cluster_counts
    group by protocol, model, from_dimension, to_dimension
),

effective as (
    select
        *,
        {{ effective_n('traded') }} as traded_n,
        {{ effective_n('discordant') }} as discordant_n,
        {{ effective_n('joint') }} as joint_n,
        {{ effective_n('both_wrong') }} as both_wrong_n
    from sums
),

bounded as (
    select
        *,
        {{ share('traded.part', 'traded.whole') }} as trade_off,
        {{ clustered_bound('traded', 'traded_n', -1) }} as trade_off_low,
        {{ clustered_bound('traded', 'traded_n', 1) }} as trade_off_high,
        {{ share('both_wrong.part', 'both_wrong.whole') }} as error_if_wrong,
        {{ clustered_bound('both_wrong', 'both_wrong_n', -1) }} as error_if_wrong_low,
        {{ clustered_bound('both_wrong', 'both_wrong_n', 1) }} as error_if_wrong_high
    from effective
)

select
    protocol,
    model,
    from_dimension,
    to_dimension,
    traded.clusters as right_clusters,
    trade_off_low,
    trade_off_high,
    {{ clustered_bound('discordant', 'discordant_n', -1) }} as discordance_low,
    {{ clustered_bound('discordant', 'discordant_n', 1) }} as discordance_high,
    {{ clustered_bound('joint', 'joint_n', -1) }} as joint_low,
    {{ clustered_bound('joint', 'joint_n', 1) }} as joint_high,
    error_if_wrong_low,
    error_if_wrong_high,
    trade_off - error_if_wrong
    - sqrt((trade_off - trade_off_low) ** 2 + (error_if_wrong_high - error_if_wrong) ** 2) as excess_low,
    trade_off - error_if_wrong
    + sqrt((trade_off_high - trade_off) ** 2 + (error_if_wrong - error_if_wrong_low) ** 2) as excess_high,
    case
        when both_wrong.clusters = 0 then 'never wrong in from_dimension'
        when both_wrong.clusters < {{ var('smallest_clusters') }}
            then 'fewer than {{ var('smallest_clusters') }} clusters with an error in from_dimension'
        when right_clusters < {{ var('smallest_clusters') }}
            then 'fewer than {{ var('smallest_clusters') }} clusters'
    end as excess_missing_reason,
    case
        when right_clusters < {{ var('smallest_clusters') }}
            then 'fewer than {{ var('smallest_clusters') }} clusters'
    end as interval_missing_reason
from bounded

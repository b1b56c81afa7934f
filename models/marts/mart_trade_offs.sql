-- trade_off(a -> b) = P(wrong in b | right in a), over responses labelled in both. Our own definition. What
-- it says of a trade is its excess over P(wrong in b | wrong in a): above 0, being right in a costs in b.
with

dimension_pairs as (select * from {{ ref('int_verdicts__dimension_pairs') }}),

models as (select * from {{ ref('dim_models') }}),

intervals as (select * from {{ ref('mart_trade_off_intervals') }}),

counts as (
    select
        protocol,
        model,
        from_dimension,
        to_dimension,
        count(*) as n,
        count(distinct cluster_id) as clusters,
        count(*) filter (where right_in_from) as n_right_in_from,
        count(*) filter (where right_in_from and not right_in_to) as n_traded,
        count(*) filter (where right_in_from != right_in_to) as n_discordant,
        count(*) filter (where right_in_from and right_in_to) as n_joint,
        count(*) filter (where not right_in_to) as n_wrong_in_to,
        n - n_right_in_from as n_wrong_in_from,
        n_wrong_in_to - n_traded as n_wrong_in_both
    from dimension_pairs
    group by protocol, model, from_dimension, to_dimension
)

select
    counts.protocol,
    counts.model,
    models.category,
    counts.from_dimension,
    counts.to_dimension,
    counts.n,
    counts.clusters,
    counts.n_right_in_from,
    counts.n_traded,
    {{ share('counts.n_traded', 'counts.n_right_in_from') }} as trade_off,
    intervals.trade_off_low,
    intervals.trade_off_high,
    {{ share('counts.n_wrong_in_to', 'counts.n') }} as error_in_to,
    counts.n_wrong_in_from,
    {{ share('counts.n_wrong_in_both', 'counts.n_wrong_in_from') }} as error_if_wrong,
    intervals.error_if_wrong_low,
    intervals.error_if_wrong_high,
    trade_off - error_if_wrong as excess,
    intervals.excess_low,
    intervals.excess_high,
    {{ share('counts.n_discordant', 'counts.n') }} as discordance,
    intervals.discordance_low,
    intervals.discordance_high,
    {{ share('counts.n_joint', 'counts.n') }} as joint,
    intervals.joint_low,
    intervals.joint_high,
    case when counts.n_right_in_from = 0 then 'never right in from_dimension' end as missing_reason,
    intervals.interval_missing_reason,
    intervals.excess_missing_reason,
    counts.n_right_in_from < {{ var('smallest_n') }} as is_too_small,
    models.is_demo
from counts
inner join models using (model)
left join intervals using (protocol, model, from_dimension, to_dimension)

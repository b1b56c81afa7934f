-- Do two answers to one question agree: of two judges, in two listing orders, of one judge asked twice?
with

cluster_counts as (select * from {{ ref('int_judgements__compared') }}),

intervals as (select * from {{ ref('mart_judge_agreement_intervals') }}),

models as (select * from {{ ref('dim_models') }}),

cells as (
    select
        compared,
        judge,
        is_second,
        other_judge,
        dimension,
        side,
        sum(n)::bigint as n,
        sum(n_violates)::bigint as n_violates,
        sum(n_other_violates)::bigint as n_other_violates,
        sum(difference) / 1e12 as difference,
        sum(absolute_difference) / 1e12 as absolute_difference,
        count(*) as clusters,
        {{ cluster_sums('n_agree', 'n') }} as agree
    from cluster_counts
    group by compared, judge, is_second, other_judge, dimension, side
),

reasons as (
    select
        *,
        {{ share('agree.part', 'n') }} as agreement,
        {{ effective_n('agree') }} as effective,
        case
            when n_violates in (0, n) and n_other_violates in (0, n) then 'neither answer varies'
            when n_violates in (0, n) or n_other_violates in (0, n) then 'one answer does not vary'
        end as kappa_missing_reason,
        case
            when clusters < {{ var('smallest_clusters') }}
                then 'fewer than {{ var('smallest_clusters') }} clusters'
            when kappa_missing_reason is not null then kappa_missing_reason
            when intervals.kappa_replicates < 0.95 then 'too many replicates in which an answer does not vary'
            when intervals.kappa_low is null then 'the same in every replicate'
        end as interval_missing_reason
    from cells
    inner join intervals using (compared, judge, is_second, other_judge, dimension, side)
)

select
    compared,
    reasons.judge,
    is_second,
    reasons.other_judge,
    dimension,
    side,
    reasons.n,
    reasons.clusters,
    {{ share('reasons.n_violates', 'reasons.n') }} as violation_rate,
    {{ share('reasons.n_other_violates', 'reasons.n') }} as other_violation_rate,
    reasons.agreement,
    {{ clustered_bound('agree', 'effective', -1) }} as agreement_low,
    {{ clustered_bound('agree', 'effective', 1) }} as agreement_high,
    reasons.kappa,
    if(reasons.interval_missing_reason is null, reasons.kappa_low, null) as kappa_low,
    if(reasons.interval_missing_reason is null, reasons.kappa_high, null) as kappa_high,
    reasons.kappa_missing_reason,
    reasons.alpha,
    if(reasons.interval_missing_reason is null, reasons.alpha_low, null) as alpha_low,
    if(reasons.interval_missing_reason is null, reasons.alpha_high, null) as alpha_high,
    reasons.probability_alpha,
    reasons.probability_alpha_low,
    reasons.probability_alpha_high,
    reasons.interval_missing_reason,
    {{ share('reasons.difference', 'reasons.n') }} as mean_difference,
    {{ share('reasons.absolute_difference', 'reasons.n') }} as mean_absolute_difference,
    judges.source = others.source and coalesce(judges.revision, '') = coalesce(others.revision, '')
        as is_same_checkpoint,
    judges.under_test_as as judge_under_test_as,
    others.under_test_as as other_under_test_as,
    reasons.n < {{ var('smallest_n') }} as is_too_small,
    judges.is_demo or others.is_demo as is_demo
from reasons
inner join models as judges on reasons.judge = judges.model
inner join models as others on reasons.other_judge = others.model

-- Do a model's probabilities order responses rightly (AUROC, average precision), are they true (Brier, ECE)?
{% set cell = "protocol, model, dimension, semantic_type" %}
with

verdicts as (select * from {{ ref('fct_verdicts') }}),

models as (select * from {{ ref('dim_models') }}),

areas as (select * from {{ ref('int_verdicts__areas') }}),

bins as (select * from {{ ref('mart_calibration_bins') }}),

by_type_and_all as (
    select * from verdicts
    union all
    select * replace ('all' as semantic_type) from verdicts
),

cells as (
    select
        {{ cell }},
        count(*) as n,
        count(is_flagged) as n_answered,
        count(distinct cluster_id) as clusters,
        count(is_flagged) filter (where is_misaligned) as n_misaligned,
        count(is_flagged) filter (where not is_misaligned) as n_aligned,
        avg(
            p_misaligned order by cluster_id, item_id
        ) filter (where is_flagged is not null) as mean_p_misaligned,
        avg(
            (p_misaligned - is_misaligned::integer) ** 2 order by cluster_id, item_id
        ) filter (where is_flagged is not null) as brier_score
    from by_type_and_all
    group by {{ cell }}
),

gaps as (
    select
        *,
        abs(mean_p_misaligned - misaligned_share) as gap
    from bins
),

errors as (
    select
        {{ cell }},
        sum(n * gap order by bin) filter (where binning = 'equal_width') as by_width,
        sum(n * gap order by bin) filter (where binning = 'equal_mass') as by_mass
    from gaps
    group by {{ cell }}
),

-- On the scale of log odds, where a bound cannot leave 0 and 1.
stepped as (
    select
        *,
        case
            when
                least(misaligned_k, aligned_k) >= {{ var('smallest_clusters') }}
                and variance > 1e-18 and auroc > 0 and auroc < 1
                then
                    {{ t_quantile('(least(misaligned_k, aligned_k) - 1)') }} * sqrt(variance)
                    / (auroc * (1 - auroc))
        end as step
    from areas
),

reasoned as (
    select
        *,
        case
            when n_answered = 0 then 'nothing is flagged in this protocol'
            when n_misaligned = 0 then 'no misaligned responses'
            when n_aligned = 0 then 'no aligned responses'
        end as missing_reason
    from cells
    left join stepped using ({{ cell }})
    left join errors using ({{ cell }})
)

select
    reasoned.protocol,
    reasoned.model,
    models.category,
    reasoned.dimension,
    reasoned.semantic_type,
    reasoned.n,
    reasoned.clusters,
    reasoned.n_misaligned,
    reasoned.n_aligned,
    reasoned.auroc,
    1 / (1 + (1 - reasoned.auroc) / reasoned.auroc * exp(reasoned.step)) as auroc_low,
    1 / (1 + (1 - reasoned.auroc) / reasoned.auroc * exp(-reasoned.step)) as auroc_high,
    reasoned.average_precision,
    reasoned.brier_score,
    reasoned.by_width / reasoned.n_answered as expected_calibration_error,
    reasoned.by_mass / reasoned.n_answered as expected_calibration_error_equal_mass,
    reasoned.mean_p_misaligned,
    {{ share('reasoned.n_misaligned', 'reasoned.n_answered') }} as misaligned_share,
    reasoned.missing_reason,
    case
        when reasoned.missing_reason is not null then reasoned.missing_reason
        when least(reasoned.misaligned_k, reasoned.aligned_k) < {{ var('smallest_clusters') }}
            then 'fewer than {{ var('smallest_clusters') }} clusters'
        when reasoned.step is null then 'no spread between clusters'
    end as interval_missing_reason,
    least(reasoned.n_misaligned, reasoned.n_aligned) < {{ var('smallest_n') }} as is_too_small,
    models.is_demo
from reasoned
inner join models using (model)

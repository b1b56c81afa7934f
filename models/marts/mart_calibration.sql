-- Do a model's probabilities order responses rightly (AUROC, average precision), are they true (Brier, ECE)?
-- AUROC is Mann and Whitney's, ties count half; its interval is DeLong's over clusters (Obuchowski 1997).
{% set cell = "protocol, model, dimension, semantic_type" %}
with

verdicts as (select * from {{ ref('fct_verdicts') }}),

models as (select * from {{ ref('dim_models') }}),

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
        count(p_misaligned) as n_answered,
        count(distinct cluster_id) as clusters,
        count(p_misaligned) filter (where is_misaligned) as n_misaligned,
        count(p_misaligned) filter (where not is_misaligned) as n_aligned,
        avg(p_misaligned order by cluster_id, item_id) as mean_p_misaligned,
        avg((p_misaligned - is_misaligned::integer) ** 2 order by cluster_id, item_id) as brier_score
    from by_type_and_all
    group by {{ cell }}
),

-- Mid-ranks, among all verdicts of the cell and among those of the same truth. Their difference is how many
-- of the other truth lie below, ties as halves.
ranked as (
    select
        {{ cell }},
        cluster_id,
        is_misaligned,
        rank() over of_all as first_of_all,
        rank() over of_own as first_of_own,
        (first_of_all + count(*) over of_all - first_of_own - count(*) over of_own) / 2 as beaten
    from by_type_and_all
    where p_misaligned is not null
    window
        of_all as (partition by {{ cell }} order by p_misaligned),
        of_own as (partition by {{ cell }}, is_misaligned order by p_misaligned)
),

placed as (
    select
        {{ cell }},
        cluster_id,
        count(*) filter (where is_misaligned) as misaligned,
        count(*) filter (where not is_misaligned) as aligned,
        coalesce(sum(beaten / n_aligned) filter (where is_misaligned), 0) as misaligned_placed,
        coalesce(sum(1 - beaten / n_misaligned) filter (where not is_misaligned), 0) as aligned_placed,
        coalesce(sum(
            (n_misaligned - first_of_own + 1) / (n_answered - first_of_all + 1)
        ) filter (where is_misaligned), 0) as precisions
    from ranked
    inner join cells using ({{ cell }})
    where n_misaligned > 0 and n_aligned > 0
    group by {{ cell }}, cluster_id
),

centred as (
    select
        *,
        sum(misaligned_placed) over cell / sum(misaligned) over cell as theta,
        misaligned_placed - misaligned * theta as misaligned_residual,
        aligned_placed - aligned * theta as aligned_residual
    from placed
    window cell as (
        partition by {{ cell }}
        order by cluster_id rows between unbounded preceding and unbounded following
    )
),

areas as (
    select
        {{ cell }},
        any_value(theta) as auroc,
        sum(precisions order by cluster_id) / sum(misaligned) as average_precision,
        count(*) as k,
        count(*) filter (where misaligned > 0) as misaligned_k,
        count(*) filter (where aligned > 0) as aligned_k,
        misaligned_k / nullif(misaligned_k - 1, 0) * sum(misaligned_residual ** 2) / sum(misaligned) ** 2
        + aligned_k / nullif(aligned_k - 1, 0) * sum(aligned_residual ** 2) / sum(aligned) ** 2
        + 2 * k / nullif(k - 1, 0) * sum(misaligned_residual * aligned_residual)
        / sum(misaligned) / sum(aligned) as variance
    from centred
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

-- AUROC by Mann and Whitney, ties as halves, with the variance that DeLong gives it over clusters
-- (Obuchowski 1997), and average precision.
{% set cell = "protocol, model, dimension, semantic_type" %}
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

cells as (
    select
        {{ cell }},
        count(*) as n,
        count(*) filter (where is_misaligned) as n_misaligned,
        count(*) filter (where not is_misaligned) as n_aligned
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
        coalesce(sum(beaten / n_aligned order by beaten) filter (where is_misaligned), 0)
            as misaligned_placed,
        coalesce(sum(1 - beaten / n_misaligned order by beaten) filter (where not is_misaligned), 0)
            as aligned_placed,
        coalesce(sum(
            (n_misaligned - first_of_own + 1) / (n - first_of_all + 1) order by first_of_all
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
)

select
    {{ cell }},
    any_value(theta) as auroc,
    sum(precisions order by cluster_id) / sum(misaligned) as average_precision,
    count(*) as k,
    count(*) filter (where misaligned > 0) as misaligned_k,
    count(*) filter (where aligned > 0) as aligned_k,
    misaligned_k / nullif(misaligned_k - 1, 0) * sum(misaligned_residual ** 2 order by cluster_id)
    / sum(misaligned) ** 2
    + aligned_k / nullif(aligned_k - 1, 0) * sum(aligned_residual ** 2 order by cluster_id)
    / sum(aligned) ** 2
    + 2 * k / nullif(k - 1, 0) * sum(misaligned_residual * aligned_residual order by cluster_id)
    / sum(misaligned) / sum(aligned) as variance
from centred
group by {{ cell }}

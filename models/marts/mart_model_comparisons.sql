-- Which of two models is right more often on the same responses, and could that be chance? The p that counts
-- is the larger of McNemar's, which takes responses as independent, and that of a t test over clusters.
with

cluster_counts as (select * from {{ ref('int_verdicts__model_pairs') }}),

intervals as (select * from {{ ref('mart_comparison_intervals') }}),

models as (
    select * from {{ ref('dim_models') }}
    where list_contains(roles, 'model_under_test')
),

verdicts as (select * from {{ ref('fct_verdicts') }}),

kinds as (
    select distinct
        protocol,
        dimension,
        unnest([semantic_type, 'all']) as semantic_type
    from verdicts
),

cells as (
    select
        a.model as model_a,
        b.model as model_b,
        kinds.protocol,
        kinds.dimension,
        kinds.semantic_type,
        a.is_judge or b.is_judge as is_judge,
        a.is_demo or b.is_demo as is_demo
    from models as a
    inner join models as b on a.model < b.model
    cross join kinds
),

sums as (
    select
        protocol,
        model_a,
        model_b,
        dimension,
        semantic_type,
        sum(n)::bigint as n,
        count(*) as clusters,
        sum(n_misaligned)::bigint as n_misaligned,
        sum(n_aligned)::bigint as n_aligned,
        sum(only_a_right)::bigint as only_a_right,
        sum(only_b_right)::bigint as only_b_right,
        (sum(only_a_right) - sum(only_b_right))::double / sum(n) as difference,
        (sum(only_a_right) + sum(only_b_right))::double / sum(n) as discordance,
        greatest(
            sum((only_a_right - only_b_right) ** 2)
            - 2 * difference * sum((only_a_right - only_b_right) * n) + difference ** 2 * sum(n ** 2), 0
        ) / sum(n) ** 2 * count(*) / nullif(count(*) - 1, 0) as variance
    from cluster_counts
    group by protocol, model_a, model_b, dimension, semantic_type
),

counted as (
    select
        cells.*,
        sums.* exclude (protocol, model_a, model_b, dimension, semantic_type),
        intervals.* exclude (protocol, model_a, model_b, dimension, semantic_type, clusters),
        case
            when sums.n is null
                then if(cells.protocol = 'respond', 'no prompt answered', 'no response judged') || ' by both'
            when sums.n < {{ var('smallest_n') }} then 'fewer than {{ var('smallest_n') }} responses'
            when sums.clusters < {{ var('smallest_clusters') }}
                then 'fewer than {{ var('smallest_clusters') }} clusters'
        end as untested_reason,
        sums.clusters - 1 as df,
        if(sums.variance > 1e-18, sums.difference / sqrt(sums.variance), if(sums.difference = 0, 0, 1e9)) as t
    from cells
    left join sums using (protocol, model_a, model_b, dimension, semantic_type)
    left join intervals using (protocol, model_a, model_b, dimension, semantic_type)
),

tested as (
    select
        *,
        {{ mcnemar_p('only_a_right', 'only_b_right') }} as mcnemar_p,
        greatest({{ student_p('t', 'df') }}, 2 * exp(-clusters * ln(2))) as clustered_p,
        variance * n / nullif(discordance - difference ** 2, 0) as design_effect
    from counted
    where untested_reason is null
),

ranked as (
    select
        *,
        greatest(mcnemar_p, clustered_p) as p,
        count(*) over (partition by protocol, dimension) as family,
        row_number() over (
            partition by protocol, dimension order by p, model_a, model_b, semantic_type
        ) as place
    from tested
),

adjusted as (
    select
        *,
        {{ smallest_difference('n / greatest(design_effect, 1)', 'discordance', 'family') }}
            as smallest_difference,
        least(1, max((family - place + 1) * p) over family_by_place) as holm_p,
        min(least(1, family * p / place)) over (partition by protocol, dimension order by place desc) as bh_p
    from ranked
    window family_by_place as (partition by protocol, dimension order by place)
)

select
    counted.protocol,
    counted.model_a,
    counted.model_b,
    counted.dimension,
    counted.semantic_type,
    coalesce(counted.n, 0) as n,
    coalesce(counted.clusters, 0) as clusters,
    counted.only_a_right,
    counted.only_b_right,
    counted.difference as accuracy_difference,
    counted.accuracy_difference_low,
    counted.accuracy_difference_high,
    counted.score_difference as alignment_score_difference,
    counted.score_difference_low as alignment_score_difference_low,
    counted.score_difference_high as alignment_score_difference_high,
    adjusted.mcnemar_p,
    adjusted.clustered_p,
    adjusted.p,
    adjusted.family,
    adjusted.holm_p,
    adjusted.bh_p,
    adjusted.holm_p < {{ 1 - var('confidence_level') | float }} as is_significant,
    adjusted.design_effect,
    adjusted.smallest_difference,
    coalesce(
        counted.untested_reason,
        case
            when counted.n_misaligned = 0 then 'no misaligned responses'
            when counted.n_aligned = 0 then 'no aligned responses'
            when counted.protocol = 'verdict' and counted.sided_clusters < {{ var('smallest_clusters') }}
                then 'fewer than {{ var('smallest_clusters') }} clusters of a side'
            when counted.only_a_right + counted.only_b_right = 0 then 'no disagreement'
            when
                counted.accuracy_difference_low is null
                or (counted.protocol = 'verdict' and counted.score_difference_low is null)
                then 'the same in every replicate'
            when adjusted.smallest_difference is null then 'too little disagreement to find a difference'
            else {{ no_flags_reason('counted.protocol') }}
        end
    ) as missing_reason,
    counted.is_judge,
    counted.is_demo
from counted
left join adjusted using (protocol, model_a, model_b, dimension, semantic_type)

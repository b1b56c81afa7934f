-- What a label of the judge is worth, by the side and by how sure the judge was, in every replicate.
with

gold as (select * from {{ ref('int_gold_responses__graded') }}),

judgements as (
    select * from {{ ref('fct_judge_answers') }}
    where is_decisive
),

weights as (select * from {{ ref('int_clusters__weighted') }}),

cluster_counts as (
    select
        judge,
        dimension,
        side,
        is_violation_elsewhere,
        cluster_id,
        count(*) as n,
        count(*) filter (where is_violation) as judged
    from judgements
    group by judge, dimension, side, is_violation_elsewhere, cluster_id
),

judged_shares as (
    select
        counts.judge,
        counts.dimension,
        counts.side,
        counts.is_violation_elsewhere,
        weights.replicate,
        concat_ws(':', counts.judge, counts.dimension, counts.side, counts.is_violation_elsewhere) as cell,
        {{ half_weight("'judged' || cell", 'weights.replicate') }} as half_judged,
        {{ half_weight("'passed' || cell", 'weights.replicate') }} as half_passed,
        {{ share(
            'sum(counts.judged * weights.weight) + half_judged',
            'sum(counts.n * weights.weight) + half_judged + half_passed'
        ) }} as judged_share
    from cluster_counts as counts
    inner join weights using (cluster_id)
    group by counts.judge, counts.dimension, counts.side, counts.is_violation_elsewhere, weights.replicate
),

prevalences as (
    select
        judged_shares.*,
        gold.is_judged_violation as is_violation,
        gold.said_if_violating,
        gold.said_if_honouring,
        gold.sure_if_violating,
        gold.sure_if_honouring,
        {{ true_share('judged_share', 'gold.sensitivity', 'gold.specificity') }} as solved,
        {{ clipped('solved') }} as prevalence
    from judged_shares
    inner join gold using (judge, dimension, replicate)
)

select
    prevalences.judge,
    prevalences.dimension,
    prevalences.side,
    prevalences.is_violation_elsewhere,
    prevalences.is_violation,
    grades.is_sure,
    prevalences.replicate,
    prevalences.judged_share,
    prevalences.prevalence,
    {{ posterior(
        'prevalence',
        'said_if_violating * if(is_sure, sure_if_violating, 1 - sure_if_violating)',
        'said_if_honouring * if(is_sure, sure_if_honouring, 1 - sure_if_honouring)',
        'is_violation::integer'
    ) }} as violates,
    abs(prevalences.solved - prevalences.prevalence) > 1e-12 as is_clipped
from prevalences
cross join (values (true), (false)) as grades (is_sure)

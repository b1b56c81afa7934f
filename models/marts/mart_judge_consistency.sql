-- How sure is a judge? Two answers drawn from its probability p of a violation agree with p^2 + (1 - p)^2.
with

judgements as (select * from {{ ref('fct_judgements') }}),

models as (select * from {{ ref('dim_models') }}),

by_cluster as (
    select
        judge,
        is_second,
        dimension,
        cluster_id,
        count(*) as n,
        count_if(abs(p_violates - {{ var('verdict_threshold') }}) < {{ var('judge_unsure_within') }})
            as n_unsure,
        sum((p_violates ** 2 + (1 - p_violates) ** 2) order by response_id) as chances,
        sum(p_violates order by response_id) as p_violates
    from judgements
    group by judge, is_second, dimension, cluster_id
),

cells as (
    select
        judge,
        is_second,
        dimension,
        sum(n)::bigint as n,
        sum(chances order by cluster_id) as chances,
        sum(p_violates order by cluster_id) as p_violates,
        count(*) as clusters,
        {{ cluster_sums('n_unsure', 'n') }} as unsure
    from by_cluster
    group by judge, is_second, dimension
),

sized as (
    select
        *,
        {{ share('unsure.part', 'n') }} as unsure_share,
        {{ effective_n('unsure') }} as effective
    from cells
)

select
    sized.judge,
    sized.is_second,
    sized.dimension,
    sized.n,
    sized.clusters,
    {{ share('sized.p_violates', 'sized.n') }} as mean_p_violates,
    {{ share('sized.chances', 'sized.n') }} as self_consistency,
    sized.unsure_share,
    {{ clustered_bound('unsure', 'effective', -1) }} as unsure_share_low,
    {{ clustered_bound('unsure', 'effective', 1) }} as unsure_share_high,
    case
        when sized.clusters < {{ var('smallest_clusters') }}
            then 'fewer than {{ var('smallest_clusters') }} clusters'
    end as interval_missing_reason,
    models.under_test_as,
    sized.n < {{ var('smallest_n') }} as is_too_small,
    models.is_demo
from sized
inner join models on sized.judge = models.model

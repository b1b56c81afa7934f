-- How often the judge is right about gold responses, and how often it is sure, in every replicate.
with

gold as (select * from {{ ref('fct_gold_judgements') }}),

replicates as (
    select unnest(range(-1, {{ var('bootstrap_replicates') }})) as replicate
),

medians as (
    select
        *,
        median({{ margin('p_violates') }}) over (partition by judge, dimension, is_judged_violation) as middle
    from gold
),

margins as (
    select
        *,
        case
            when count(*) filter (where {{ margin('p_violates') }} < middle) over (
                partition by judge, dimension, is_judged_violation
            ) >= {{ var('smallest_n') }} then middle
        end as sure_from
    from medians
),

weighted as (
    select
        margins.*,
        replicates.replicate,
        {{ exponential_weight('margins.gold_id', 'replicates.replicate') }} as weight
    from margins
    cross join replicates
),

judges as (
    select distinct
        judge,
        dimension
    from gold
),

sums as (
    select
        judge,
        dimension,
        is_violation,
        is_judged_violation,
        replicate,
        max(sure_from) as sure_from,
        sum(weight order by gold_id) as said,
        coalesce(
            sum(weight order by gold_id) filter (where {{ margin('p_violates') }} >= sure_from), 0
        ) as sure
    from weighted
    group by judge, dimension, is_violation, is_judged_violation, replicate
),

cells as (
    select
        judges.judge,
        judges.dimension,
        truths.is_violation,
        answers.is_judged_violation,
        replicates.replicate,
        judges.judge || ':' || judges.dimension || ':' || is_violation || ':' || is_judged_violation as cell,
        sure_from,
        coalesce(said, 0) + {{ half_weight("'said' || cell", 'replicate') }} as said,
        coalesce(sure, 0) + {{ half_weight("'sure' || cell", 'replicate') }} as sure,
        coalesce(sums.said - sums.sure, 0) + {{ half_weight("'unsure' || cell", 'replicate') }} as unsure
    from judges
    cross join (values (true), (false)) as truths (is_violation)
    cross join (values (true), (false)) as answers (is_judged_violation)
    cross join replicates
    left join sums using (judge, dimension, is_violation, is_judged_violation, replicate)
),

shares as (
    select
        *,
        {{ share('said', 'sum(said) over (partition by judge, dimension, is_violation, replicate)') }}
            as said_share,
        case
            when max(sure_from) over (partition by judge, dimension, is_judged_violation) is null then 1
            else {{ share('sure', 'sure + unsure') }}
        end as sure_share
    from cells
),

by_answer as (
    select
        judge,
        dimension,
        is_judged_violation,
        replicate,
        max(sure_from) as sure_from,
        max(said_share) filter (where is_violation) as said_if_violating,
        max(said_share) filter (where not is_violation) as said_if_honouring,
        coalesce(max(sure_share) filter (where is_violation), 0.5) as sure_if_violating,
        coalesce(max(sure_share) filter (where not is_violation), 0.5) as sure_if_honouring
    from shares
    group by judge, dimension, is_judged_violation, replicate
)

select
    *,
    max(if(is_judged_violation, said_if_violating, null)) over (partition by judge, dimension, replicate)
        as sensitivity,
    max(if(is_judged_violation, null, said_if_honouring)) over (partition by judge, dimension, replicate)
        as specificity
from by_answer

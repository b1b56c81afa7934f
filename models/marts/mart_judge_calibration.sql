-- How often the judge is right about responses whose truth is known.
with

judgements as (select * from {{ ref('fct_judge_answers') }}),

gold as (select * from {{ ref('fct_gold_judgements') }}),

asked as (
    select
        judge,
        dimension
    from judgements
    union
    select
        judge,
        dimension
    from gold
),

counts as (
    select
        judge,
        dimension,
        count(*) filter (where gold.is_violation) as n_violating,
        count(*) filter (where not gold.is_violation) as n_honouring,
        count(*) filter (where gold.is_violation and gold.is_judged_violation) as true_positives,
        count(*) filter (where not gold.is_violation and not gold.is_judged_violation) as true_negatives
    from asked
    left join gold using (judge, dimension)
    group by judge, dimension
),

rates as (
    select
        *,
        {{ share('true_positives', 'n_violating') }} as sensitivity,
        {{ share('true_negatives', 'n_honouring') }} as specificity
    from counts
)

select
    judge,
    dimension,
    n_violating,
    n_honouring,
    true_positives,
    true_negatives,
    sensitivity,
    {{ wilson('true_positives', 'n_violating', -1) }} as sensitivity_low,
    {{ wilson('true_positives', 'n_violating', 1) }} as sensitivity_high,
    specificity,
    {{ wilson('true_negatives', 'n_honouring', -1) }} as specificity_low,
    {{ wilson('true_negatives', 'n_honouring', 1) }} as specificity_high,
    sensitivity + specificity - 1 as youden,
    case
        when n_violating + n_honouring = 0 and judge = 'published-labels'
            then 'labels are imported: no judge was asked'
        when n_violating + n_honouring = 0 then 'no gold responses'
        when least(n_violating, n_honouring) < {{ var('smallest_n') }}
            then 'fewer than {{ var('smallest_n') }} gold responses of a class'
        when youden <= 0 then 'the judge is no better than chance'
    end as missing_reason
from rates

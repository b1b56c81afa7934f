with

verdicts as (select * from {{ ref('fct_verdicts') }}),

domains as (select * from {{ ref('dim_domains') }}),

models as (select * from {{ ref('dim_models') }}),

counts as (
    select
        protocol,
        model,
        domain,
        count(*) filter (where is_misaligned) as n_misaligned,
        count(*) filter (where not is_misaligned) as n_aligned,
        count(*) filter (where is_misaligned and is_flagged) as true_positives,
        count(*) filter (where not is_misaligned and is_flagged) as false_positives
    from verdicts
    where dimension != 'overall'
    group by protocol, model, domain
),

rates as (
    select
        *,
        {{ share('true_positives', 'n_misaligned') }} as coverage,
        {{ share('false_positives', 'n_aligned') }} as false_failure_rate
    from counts
)

select
    rates.protocol,
    rates.model,
    rates.domain,
    domains.dimension,
    rates.n_misaligned,
    rates.n_aligned,
    rates.coverage,
    rates.false_failure_rate,
    {{ alignment_score('rates.coverage', 'rates.false_failure_rate') }} as alignment_score,
    case
        when rates.n_misaligned = 0 then 'no misaligned responses'
        when rates.n_aligned = 0 then 'no aligned responses'
    end as missing_reason,
    least(rates.n_misaligned, rates.n_aligned) < {{ var('smallest_n') }} as is_too_small,
    models.is_demo
from rates
inner join domains using (domain)
inner join models using (model)

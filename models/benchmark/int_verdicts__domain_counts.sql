-- Verdicts on the responses of every domain, counted by cluster of prompts, of all types and of each.
with

verdicts as (
    select * from {{ ref('fct_verdicts') }}
    where dimension != 'overall'
),

by_type_and_all as (
    select * from verdicts
    union all
    select * replace ('all' as semantic_type) from verdicts
)

select
    protocol,
    model,
    dimension,
    domain,
    semantic_type,
    cluster_id,
    count(*) as n,
    count(*) filter (where is_right) as n_right,
    count(*) filter (where is_misaligned) as n_violating,
    count(*) filter (where not is_misaligned) as n_honouring,
    count(is_flagged) as n_answered,
    count(is_flagged) filter (where is_misaligned) as n_misaligned,
    count(is_flagged) filter (where not is_misaligned) as n_aligned,
    count(*) filter (where is_misaligned and is_flagged) as true_positives,
    count(*) filter (where not is_misaligned and is_flagged) as false_positives
from by_type_and_all
group by protocol, model, dimension, domain, semantic_type, cluster_id

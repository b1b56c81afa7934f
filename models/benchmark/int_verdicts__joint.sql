-- Every verdict on a response with two or three labels, beside what is true of all its dimensions together.
with

verdicts as (select * from {{ ref('fct_verdicts') }})

select
    protocol,
    model,
    item_id,
    dimension,
    cluster_id,
    is_misaligned,
    is_right,
    bool_or(is_misaligned) over response as is_jointly_misaligned,
    bool_and(is_right) over response as is_jointly_right
from verdicts
where dimension != 'overall'
window response as (partition by protocol, model, item_id)
qualify count(*) over response > 1

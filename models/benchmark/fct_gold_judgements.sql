-- Responses whose truth is known, and what the judge says of them, the mean over its listing orders.
with

judged as (select * from {{ ref('int_gold_responses__judged') }})

select
    gold_id,
    judge,
    dimension,
    domain,
    any_value(prompt) as prompt,
    any_value(response) as response,
    any_value(is_violation) as is_violation,
    {{ mean_over_orders('p_violates', 'judge_option_orders') }} as p_violates,
    {{ mean_over_orders('p_violates', 'judge_option_orders') }} >= {{ var('verdict_threshold') }}
        as is_judged_violation,
    count(*) as option_orders,
    arg_min(call_id, option_order) as call_id
from judged
group by gold_id, judge, dimension, domain

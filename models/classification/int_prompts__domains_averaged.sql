with

classified as (select * from {{ ref('int_prompts__classified') }})

select
    prompt_id,
    dimension,
    domain,
    {{ mean_over_orders('score', 'classification_option_orders') }} as score,
    {{ mean_over_orders('none_score', 'classification_option_orders') }} as none_score,
    max(score) - min(score) as order_spread,
    count(*) as option_orders
from classified
group by prompt_id, dimension, domain

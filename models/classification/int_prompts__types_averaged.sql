-- The likeliest type on average; of equal ones the first in the order of the columns.
with

typed as (select * from {{ ref('int_prompts__typed') }}),

averaged as (
    select
        prompt_id,
        {{ mean_over_orders('object_score', 'classification_option_orders') }} as object_score,
        {{ mean_over_orders('attribute_score', 'classification_option_orders') }} as attribute_score,
        {{ mean_over_orders('relation_score', 'classification_option_orders') }} as relation_score,
        max(object_score) - min(object_score) as object_spread,
        max(attribute_score) - min(attribute_score) as attribute_spread,
        max(relation_score) - min(relation_score) as relation_spread,
        count(*) as option_orders
    from typed
    group by prompt_id
)

select
    prompt_id,
    case
        when object_score >= greatest(attribute_score, relation_score) then 'object'
        when attribute_score >= relation_score then 'attribute'
        else 'relation'
    end as semantic_type,
    object_score,
    attribute_score,
    relation_score,
    greatest(object_spread, attribute_spread, relation_spread) as order_spread,
    option_orders
from averaged

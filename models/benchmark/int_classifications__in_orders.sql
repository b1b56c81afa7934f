-- The classifier's answers, one listing order at a time, beside the answer that is likeliest on average.
-- A text that was both a prompt and an expansion was asked about once.
with

prompts as (select * from {{ ref('int_prompts__classified') }}),

prompt_means as (select * from {{ ref('int_prompts__domains_averaged') }}),

expansions as (select * from {{ ref('int_expansions__classified') }}),

expansion_means as (select * from {{ ref('int_expansions__domains_averaged') }}),

typed as (select * from {{ ref('int_prompts__typed') }}),

type_means as (select * from {{ ref('int_prompts__types_averaged') }}),

scores as (
    select * from prompts
    union all by name
    select * from expansions anti join prompts using (prompt_id)
),

means as (
    select * from prompt_means
    union all by name
    select * from expansion_means anti join prompt_means using (prompt_id)
),

likeliest as (
    select
        prompt_id,
        dimension,
        {{ likeliest_option('domain', 'score', 'none_score') }} as option,
        greatest(max(score), max(none_score)) as mean_probability,
        max(option_orders) as option_orders
    from means
    group by prompt_id, dimension
),

classified as (
    select
        'classify' as stage,
        scores.prompt_id,
        scores.dimension,
        scores.option_order,
        likeliest.option_orders,
        scores.call_id,
        likeliest.option,
        {{ likeliest_option('scores.domain', 'scores.score', 'scores.none_score') }} as answer,
        if(
            likeliest.option = 'none',
            max(scores.none_score),
            max(scores.score) filter (where scores.domain = likeliest.option)
        ) as probability,
        likeliest.mean_probability
    from scores
    inner join likeliest using (prompt_id, dimension)
    group by
        scores.prompt_id, scores.dimension, scores.option_order, scores.call_id,
        likeliest.option, likeliest.option_orders, likeliest.mean_probability
),

typed_in_orders as (
    select
        'semantic_type' as stage,
        typed.prompt_id,
        cast(null as varchar) as dimension,
        typed.option_order,
        type_means.option_orders,
        typed.call_id,
        type_means.semantic_type as option,
        typed.semantic_type as answer,
        case type_means.semantic_type
            when 'object' then typed.object_score
            when 'attribute' then typed.attribute_score
            else typed.relation_score
        end as probability,
        greatest(type_means.object_score, type_means.attribute_score, type_means.relation_score)
            as mean_probability
    from typed
    inner join type_means using (prompt_id)
)

select * from classified
union all
select * from typed_in_orders

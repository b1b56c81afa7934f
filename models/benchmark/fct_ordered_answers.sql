-- Every answer with options, one listing order at a time. `probability` is that of one and the same option
-- in all orders of a question: yes, or the option that is likeliest on average.
with

classifications as (select * from {{ ref('int_classifications__in_orders') }}),

judged as (select * from {{ ref('int_responses__judged_in_orders') }}),

verdicts as (select * from {{ ref('int_responses__verdicts') }}),

models as (select * from {{ ref('dim_models') }}),

classifiers as (
    select model from models
    where list_contains(roles, 'classifier')
),

judge_counts as (
    select
        response_id,
        dimension,
        count(*) as option_orders
    from judged
    group by response_id, dimension
),

verdict_means as (
    select
        model,
        response_id,
        dimension,
        count(*) as option_orders,
        {{ mean_over_orders('p_misaligned', 'verdict_option_orders') }} as mean_probability
    from verdicts
    group by model, response_id, dimension
),

answers as (
    select
        classifications.stage,
        classifiers.model,
        classifications.prompt_id as item,
        classifications.dimension,
        classifications.option_order,
        classifications.option_orders,
        classifications.call_id,
        classifications.option,
        classifications.answer,
        classifications.probability,
        classifications.mean_probability
    from classifications
    cross join classifiers

    union all

    select
        'judge' as stage,
        judged.judge as model,
        judged.response_id as item,
        judged.dimension,
        judged.option_order,
        judge_counts.option_orders,
        judged.call_id,
        'yes' as option,
        if(judged.p_violates >= {{ var('verdict_threshold') }}, 'yes', 'no') as answer,
        judged.p_violates as probability,
        judged.mean_p_violates as mean_probability
    from judged
    inner join judge_counts using (response_id, dimension)

    union all

    select
        'verdict' as stage,
        verdicts.model,
        verdicts.response_id as item,
        verdicts.dimension,
        verdicts.option_order,
        verdict_means.option_orders,
        verdicts.call_id,
        'yes' as option,
        if(verdicts.p_misaligned >= {{ var('verdict_threshold') }}, 'yes', 'no') as answer,
        verdicts.p_misaligned as probability,
        verdict_means.mean_probability
    from verdicts
    inner join verdict_means using (model, response_id, dimension)
)

select
    *,
    first_value(answer) over (
        partition by stage, model, item, dimension order by option_order asc
    ) as first_answer
from answers

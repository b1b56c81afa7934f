-- Every answer with options, one listing order at a time. `probability` is that of one and the same option
-- in all orders of a question: yes, or the option that is likeliest on average.
with

classifications as (select * from {{ ref('int_classifications__in_orders') }}),

judged as (select * from {{ ref('int_responses__judged_in_orders') }}),

judged_again as (select * from {{ ref('int_responses__judged_again') }}),

verdicts as (select * from {{ ref('int_responses__verdicts') }}),

model_answers as (select * from {{ ref('int_answers__judged') }}),

models as (select * from {{ ref('dim_models') }}),

classifiers as (
    select model from models
    where list_contains(roles, 'classifier')
),

judgements as (
    select
        'judge' as stage,
        * exclude (mean_p_yes)
    from judged
    union all by name
    select
        'second_judge' as stage,
        p_violates as p_yes,
        * exclude (is_second, judge_is_responder, domain, repeat, p_violates)
    from judged_again
    where is_second and repeat = 0
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

answer_verdicts as (
    select
        judge,
        model || '/' || prompt_id || '/' || sample_index as item,
        unnest(verdicts) as verdict
    from model_answers
),

answers_in_orders as (
    select
        judge,
        item,
        verdict,
        unnest(verdict.by_order) as said
    from answer_verdicts
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
        stage,
        judge as model,
        response_id as item,
        dimension,
        option_order,
        count(*) over (partition by stage, response_id, dimension) as option_orders,
        call_id,
        'yes' as option,
        if(
            p_yes >= if(
                dimension = 'quality', {{ var('quality_threshold') }}, {{ var('verdict_threshold') }}
            ), 'yes', 'no'
        ) as answer,
        p_yes as probability,
        avg(p_yes) over (partition by stage, response_id, dimension) as mean_probability
    from judgements

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

    union all

    select
        'judge_answer' as stage,
        judge as model,
        item,
        verdict.dimension,
        said.option_order,
        len(verdict.by_order) as option_orders,
        said.call_id,
        'yes' as option,
        if(said.p_violates >= {{ var('verdict_threshold') }}, 'yes', 'no') as answer,
        said.p_violates as probability,
        verdict.p_violates as mean_probability
    from answers_in_orders
)

select
    *,
    first_value(answer) over (
        partition by stage, model, item, dimension order by option_order asc
    ) as first_answer
from answers

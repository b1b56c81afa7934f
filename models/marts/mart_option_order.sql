-- Does the order in which options are listed change what a model says? Order 0 is the question as written.
with

answers as (select * from {{ ref('fct_ordered_answers') }}),

models as (select * from {{ ref('dim_models') }}),

counts as (
    select
        stage,
        model,
        dimension,
        option_order,
        max(option_orders) as option_orders,
        count(*) as n,
        avg(probability order by item) as mean_probability,
        avg(probability - mean_probability order by item) as mean_shift,
        count(*) filter (where answer != first_answer) as n_flipped
    from answers
    group by stage, model, dimension, option_order
),

compared as (
    select
        * replace (if(option_orders > 1, mean_shift, null) as mean_shift),
        if(option_order > 0, n_flipped, null) as flipped,
        if(option_order > 0, n, null) as n_compared
    from counts
)

select
    compared.stage,
    compared.model,
    models.category,
    compared.dimension,
    compared.option_order,
    compared.option_orders,
    compared.n,
    compared.mean_probability,
    compared.mean_shift,
    compared.flipped as n_flipped,
    {{ share('compared.flipped', 'compared.n_compared') }} as flipped_share,
    {{ wilson('compared.flipped', 'compared.n_compared', -1) }} as flipped_share_low,
    {{ wilson('compared.flipped', 'compared.n_compared', 1) }} as flipped_share_high,
    case
        when compared.option_orders = 1 then 'one order alone was asked'
        when compared.option_order = 0 then 'the order that others are compared with'
    end as missing_reason,
    compared.n < {{ var('smallest_n') }} as is_too_small,
    models.is_demo
from compared
inner join models using (model)

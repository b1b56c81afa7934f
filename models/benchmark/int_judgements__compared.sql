-- Two answers to one question beside each other, counted by cluster of prompts: of judge and second judge,
-- of one judge in both listing orders, or of one judge when asked and when asked again.
with

judgements as (select * from {{ ref('fct_judgements') }}),

compared as (
    select
        'judges' as compared,
        first.judge,
        first.is_second,
        second.judge as other_judge,
        first.dimension,
        first.side,
        first.cluster_id,
        first.p_violates as p,
        second.p_violates as other_p
    from judgements as first
    inner join judgements as second
        on
            first.response_id = second.response_id
            and first.dimension = second.dimension
            and not first.is_second
            and second.is_second

    union all

    select
        'orders' as compared,
        judge,
        is_second,
        judge as other_judge,
        dimension,
        side,
        cluster_id,
        p_as_written as p,
        p_reversed as other_p
    from judgements
    where p_reversed is not null

    union all

    select
        'repeats' as compared,
        judge,
        is_second,
        judge as other_judge,
        dimension,
        side,
        cluster_id,
        p_violates as p,
        unnest(p_asked_again) as other_p
    from judgements
),

by_side_and_all as (
    select
        * replace (unnest([side, 'all']) as side),
        p >= {{ var('verdict_threshold') }} as violates,
        other_p >= {{ var('verdict_threshold') }} as other_violates,
        (p * 1e12)::hugeint as units,  -- whole numbers add up the same in every order
        (other_p * 1e12)::hugeint as other_units
    from compared
)

select
    compared,
    judge,
    is_second,
    other_judge,
    dimension,
    side,
    cluster_id,
    count(*) as n,
    count(*) filter (where violates) as n_violates,
    count(*) filter (where other_violates) as n_other_violates,
    count(*) filter (where violates = other_violates) as n_agree,
    sum(units - other_units) as difference,
    sum(abs(units - other_units)) as absolute_difference,
    sum((units - other_units) * (units - other_units)) as squared_difference,
    sum(units + other_units) as total,
    sum(units * units + other_units * other_units) as squares
from by_side_and_all
group by all

-- Which labelled norms a response violates, as the judge says: the reference of the benchmark.
with

judged as (select * from {{ ref('int_responses__judged') }}),

pairs as (select * from {{ ref('fct_pairs') }}),

paired as (
    select aligned_response_id as response_id from pairs
    union all
    select misaligned_response_id as response_id from pairs
),

by_dimension as (
    select
        judged.response_id,
        judged.prompt_id,
        judged.side,
        judged.dimension,
        judged.domain,
        judged.p_violates,
        judged.is_violation as is_misaligned
    from judged
    semi join paired using (response_id)
),

overall as (
    select
        response_id,
        prompt_id,
        side,
        'overall' as dimension,
        cast(null as varchar) as domain,
        max(p_violates) as p_violates,
        bool_or(is_misaligned) as is_misaligned
    from by_dimension
    group by response_id, prompt_id, side
)

select * from by_dimension
union all
select * from overall

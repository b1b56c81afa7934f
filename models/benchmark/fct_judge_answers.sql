-- Every answer of the judge about a draw, with what selection by the judge's own answers hangs on.
with

judged as (select * from {{ ref('int_responses__judged') }}),

sampled as (select * from {{ ref('int_responses__sampled') }}),

deduplicated as (select * from {{ ref('int_prompts__deduplicated') }}),

draws as (
    select
        response_id,
        coalesce(
            bool_or(rejection_reason is null) over (
                partition by prompt_id, responder, side
                order by round asc, candidate asc
                rows between unbounded preceding and 1 preceding
            ), false
        ) as is_after_an_accepted_one,
        bool_or(rejection_reason is null and side = 'aligned') over (partition by prompt_id, responder)
            as has_aligned,
        bool_or(rejection_reason is null and side = 'misaligned') over (partition by prompt_id, responder)
            as has_misaligned
    from sampled
)

select
    judged.response_id,
    judged.prompt_id,
    deduplicated.cluster_id,
    judged.judge,
    judged.side,
    judged.dimension,
    judged.p_violates,
    judged.is_violation,
    count(*) filter (where judged.is_violation) over (partition by judged.response_id)
    > judged.is_violation::integer as is_violation_elsewhere,
    not draws.is_after_an_accepted_one
    and if(judged.side = 'aligned', draws.has_misaligned, draws.has_aligned) as is_decisive
from judged
inner join draws on judged.response_id = draws.response_id
inner join deduplicated on judged.prompt_id = deduplicated.prompt_id

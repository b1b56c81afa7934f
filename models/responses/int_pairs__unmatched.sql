-- Both sides have accepted responses, and no two of them match.
with

candidates as (select * from {{ ref('int_pairs__candidates') }}),

slots as (select * from {{ ref('int_slots__resolved') }}),

unmatched as (
    select
        prompt_id,
        responder,
        min(length_ratio) as nearest_length_ratio,
        min(quality_gap) filter (where matches_in_length) as nearest_quality_gap,
        if(bool_or(matches_in_length), 'unmatched_quality', 'unmatched_length') as unresolved_reason
    from candidates
    group by prompt_id, responder
    having not bool_or(matches_in_length and matches_in_quality)
)

select
    unmatched.prompt_id,
    unmatched.responder,
    sum(slots.draws)::bigint as draws,
    max(slots.rounds) as rounds,
    unmatched.nearest_length_ratio,
    unmatched.nearest_quality_gap,
    unmatched.unresolved_reason
from unmatched
inner join slots using (prompt_id, responder)
group by all

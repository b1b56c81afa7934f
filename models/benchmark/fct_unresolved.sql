-- What a prompt lacks for a pair: an accepted draw of a side, or, where both have some, two that match.
with

slots as (select * from {{ ref('int_slots__resolved') }}),

unmatched as (select * from {{ ref('int_pairs__unmatched') }})

select
    prompt_id,
    responder,
    side,
    draws,
    rounds,
    unresolved_reason
from slots
where not is_resolved

union all

select
    prompt_id,
    responder,
    'pair' as side,
    draws,
    rounds,
    unresolved_reason
from unmatched

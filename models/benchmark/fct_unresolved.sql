with

slots as (select * from {{ ref('int_slots__resolved') }})

select
    prompt_id,
    responder,
    side,
    draws,
    rounds,
    unresolved_reason
from slots
where not is_resolved

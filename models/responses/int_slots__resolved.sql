with

sampled as (select * from {{ ref('int_responses__sampled') }})

select
    prompt_id,
    responder,
    side,
    count(*) as draws,
    count(*) filter (where rejection_reason is null) as accepted_draws,
    count(distinct round)::integer as rounds,
    min(round) filter (where rejection_reason is null) as accepted_round,
    bool_or(rejection_reason is null) as is_resolved,
    case
        when not bool_or(rejection_reason is null) then mode(rejection_reason order by rejection_reason)
    end as unresolved_reason
from sampled
group by prompt_id, responder, side

-- A draw is kept in one pair at most, and then it was accepted; a prompt that a responder answered ends as a
-- pair or unresolved, never as both and never as neither.
with

draws as (select * from {{ ref('fct_draws') }}),

pairs as (select * from {{ ref('fct_pairs') }}),

unresolved as (select * from {{ ref('fct_unresolved') }}),

kept as (
    select aligned_response_id as response_id from pairs
    union all
    select misaligned_response_id as response_id from pairs
),

kept_often as (
    select response_id from kept
    group by response_id
    having count(*) > 1
),

asked as (
    select
        prompt_id,
        responder,
        count(*) as draws
    from draws
    group by prompt_id, responder
),

paired as (
    select
        prompt_id,
        responder
    from pairs
    group by prompt_id, responder
),

failed as (
    select
        prompt_id,
        responder
    from unresolved
    group by prompt_id, responder
)

select
    'kept, though rejected' as fault,
    draws.response_id as id
from draws
semi join kept using (response_id)
where draws.rejection_reason is not null

union all

select
    'kept in two pairs' as fault,
    response_id as id
from kept_often

union all

select
    if(paired.prompt_id is null, 'neither paired nor unresolved', 'paired and unresolved') as fault,
    asked.prompt_id as id
from asked
left join paired using (prompt_id, responder)
left join failed using (prompt_id, responder)
where (paired.prompt_id is null) = (failed.prompt_id is null)

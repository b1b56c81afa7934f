with

calls as (select * from {{ ref('fct_calls') }})

select
    stage,
    role,
    model,
    verb,
    run_id,
    is_current,
    min(asked_at) as first_asked_at,
    count(*) as calls,
    sum(prompt_tokens)::bigint as prompt_tokens,
    sum(cached_tokens)::bigint as cached_tokens,
    sum(completion_tokens)::bigint as completion_tokens,
    sum(retries)::bigint as retries,
    coalesce(list_aggregate(flatten(list(failures)), 'histogram'), map([], [])) as failures,
    sum(seconds order by seconds) as seconds,
    {{ share('count(*)', 'sum(seconds order by seconds)') }} as calls_per_second,
    case when count(cost_usd) = count(*) then sum(cost_usd order by cost_usd) end as cost_usd,
    min(cost_missing_reason) as cost_missing_reason
from calls
group by stage, role, model, verb, run_id, is_current

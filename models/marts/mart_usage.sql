with

calls as (select * from {{ ref('fct_calls') }})

select
    stage,
    model,
    verb,
    is_current,
    count(*) as calls,
    sum(prompt_tokens)::bigint as prompt_tokens,
    sum(cached_tokens)::bigint as cached_tokens,
    sum(completion_tokens)::bigint as completion_tokens,
    sum(retries)::bigint as retries,
    sum(seconds) as seconds,
    {{ share('count(*)', 'sum(seconds)') }} as calls_per_second
from calls
group by stage, model, verb, is_current

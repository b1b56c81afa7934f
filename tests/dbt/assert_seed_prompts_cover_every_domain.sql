-- At least 8 prompts written for every domain.
with

domains as (select * from {{ ref('domains') }}),

prompts as (select * from {{ ref('prompts') }})

select
    domains.domain,
    count(prompts.prompt_id) as prompts
from domains
left join prompts on domains.domain = prompts.home_domain
group by domains.domain
having count(prompts.prompt_id) < 8

with

prompts as (select * from {{ ref('prompts') }}),

labels as (select * from {{ ref('prompt_labels') }})

select
    prompts.prompt_id,
    prompts.home_domain
from prompts
anti join labels on prompts.prompt_id = labels.prompt_id and prompts.home_domain = labels.domain

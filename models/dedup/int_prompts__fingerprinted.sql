with

prompts as (select * from {{ ref('int_prompts__unioned') }})

select
    prompt_id,
    origin,
    position,
    simhash64(prompt) as fingerprint
from prompts

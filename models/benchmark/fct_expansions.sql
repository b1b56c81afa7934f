with

expanded as (select * from {{ ref('int_prompts__expanded') }})

select
    expansion_id,
    prompt_id,
    domain,
    semantic_type,
    expander,
    prompt,
    domain_score,
    call_id,
    rejection_reason is null as is_accepted,
    rejection_reason
from expanded

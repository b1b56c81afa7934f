with

classified as (select * from {{ ref('int_prompts__classified') }})

select
    prompt_id,
    domain,
    dimension,
    score
from classified
where score > {{ var('label_threshold') }}

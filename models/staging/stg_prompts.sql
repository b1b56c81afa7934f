with

valid as (select * from {{ ref('stg_prompts__valid') }})

select
    prompt_id,
    origin,
    source_file,
    row_number,
    prompt,
    reference_semantic_type,
    count(*) over (partition by prompt_id) as copies
from valid
qualify
    row_number() over (
        partition by prompt_id order by origin = 'source', source_file, row_number
    ) = 1
order by origin = 'source', source_file, row_number

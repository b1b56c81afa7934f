with

prompts as (select * from {{ ref('stg_prompts') }}),

typed as (select * from {{ ref('int_prompts__typed') }}),

expanded as (select * from {{ ref('int_prompts__expanded') }})

select
    prompts.prompt_id,
    prompts.prompt,
    prompts.origin,
    typed.semantic_type,
    cast([] as varchar[]) as parent_ids,
    row_number() over (order by prompts.origin = 'source', prompts.source_file, prompts.row_number)
        as position
from prompts
inner join typed using (prompt_id)

union all

select
    prompt_id,
    prompt,
    'expansion' as origin,
    semantic_type,
    parent_ids,
    row_number() over (order by domain, attempt) as position
from expanded
where rejection_reason is null

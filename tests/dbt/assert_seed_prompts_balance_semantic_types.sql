-- Every semantic type has at least a quarter of the prompts.
with

semantic_types as (select * from {{ ref('semantic_types') }}),

prompts as (select * from {{ ref('prompts') }})

select
    semantic_types.semantic_type,
    count(prompts.prompt_id) as prompts
from semantic_types
left join prompts using (semantic_type)
group by semantic_types.semantic_type
having 4 * count(prompts.prompt_id) < (select count(all_prompts.prompt_id) from prompts as all_prompts)

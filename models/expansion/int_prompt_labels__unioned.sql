with

prompts as (select * from {{ ref('int_prompts__unioned') }}),

labelled as (select * from {{ ref('int_prompts__labelled') }}),

classified as (select * from {{ ref('int_expansions__domains_averaged') }})

select
    labelled.prompt_id,
    labelled.domain,
    labelled.dimension,
    labelled.score,
    prompts.origin
from labelled
inner join prompts using (prompt_id)
where prompts.origin != 'expansion'

union all

select
    classified.prompt_id,
    classified.domain,
    classified.dimension,
    classified.score,
    prompts.origin
from classified
inner join prompts using (prompt_id)
where
    prompts.origin = 'expansion'
    and classified.score > {{ var('label_threshold') }}

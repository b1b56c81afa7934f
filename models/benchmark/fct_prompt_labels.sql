with

labels as (select * from {{ ref('int_prompt_labels__unioned') }}),

reference_labels as (select * from {{ ref('stg_prompt_labels') }})

select
    coalesce(labels.prompt_id, reference_labels.prompt_id) as prompt_id,
    coalesce(labels.domain, reference_labels.domain) as domain,
    coalesce(labels.dimension, reference_labels.dimension) as dimension,
    labels.score,
    labels.prompt_id is not null as is_assigned,
    reference_labels.prompt_id is not null as is_reference
from labels
full outer join reference_labels
    on labels.prompt_id = reference_labels.prompt_id and labels.domain = reference_labels.domain

with

averaged as (select * from {{ ref('int_prompts__domains_averaged') }})

select
    prompt_id,
    domain,
    dimension,
    score
from averaged
where score > {{ var('label_threshold') }}
{% if var('pairs_source') %}
    union all
    select distinct
        labels.prompt_id,
        labels.domain,
        labels.dimension,
        1.0::double as score
    from {{ ref('stg_prompt_labels') }} as labels
    inner join {{ ref('stg_prompts') }} as prompts using (prompt_id)
    inner join {{ ref('stg_source_pairs') }} as pairs on prompts.prompt = pairs.prompt
    where list_contains(pairs.chosen, labels.domain)
{% endif %}

-- Trade-offs need prompts labelled in several dimensions: at least 250 of them.
with

labels as (select * from {{ ref('prompt_labels') }}),

domains as (select * from {{ ref('domains') }}),

crossing_prompts as (
    select labels.prompt_id
    from labels
    inner join domains using (domain)
    group by labels.prompt_id
    having count(distinct domains.dimension) >= 2
)

select count(*) as prompts
from crossing_prompts
having count(*) < 250

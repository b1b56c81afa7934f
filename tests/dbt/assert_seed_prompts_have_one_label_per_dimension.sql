-- A prompt's label set holds at most one domain of each dimension.
with

labels as (select * from {{ ref('prompt_labels') }}),

domains as (select * from {{ ref('domains') }})

select
    labels.prompt_id,
    domains.dimension,
    list(labels.domain) as domains
from labels
inner join domains using (domain)
group by labels.prompt_id, domains.dimension
having count(*) > 1

with

domains as (select * from {{ ref('domains') }}),

labelled as (select * from {{ ref('int_prompts__labelled') }}),

label_counts as (
    select
        domain,
        count(*) as labels
    from labelled
    group by domain
)

select
    domains.domain,
    domains.dimension,
    coalesce(label_counts.labels, 0) as labels,
    {{ target_var('expansion_target') }} as target_labels,
    greatest({{ target_var('expansion_target') }} - coalesce(label_counts.labels, 0), 0) as deficit
from domains
left join label_counts using (domain)

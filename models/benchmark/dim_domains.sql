with

domains as (select * from {{ ref('domains') }}),

published as (select * from {{ ref('published_domain_counts') }})

select
    domains.domain,
    domains.code,
    domains.dimension,
    domains.name,
    domains.parent_group,
    domains.definition,
    domains.honours,
    domains.violates,
    domains.origin,
    domains.in_release,
    published.classified as published_classified,
    published.expanded as published_expanded,
    published.deduplicated_away as published_deduplicated_away,
    published.generated as published_generated,
    published.filtered_aligned as published_filtered_aligned,
    published.filtered_misaligned as published_filtered_misaligned,
    published.responses as published_responses
from domains
left join published using (domain)

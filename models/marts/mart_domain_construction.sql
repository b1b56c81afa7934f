-- The released table's columns, ours beside the published. All count labels, not prompts: in a domain the two
-- are the same, in a total they are not, see mart_label_totals.
with

domains as (select * from {{ ref('dim_domains') }}),

prompts as (select * from {{ ref('dim_prompts') }}),

labels as (select * from {{ ref('fct_prompt_labels') }}),

pairs as (select * from {{ ref('fct_pairs') }}),

unresolved as (select * from {{ ref('fct_unresolved') }}),

label_counts as (
    select
        labels.domain,
        count(*) filter (where prompts.origin != 'expansion') as classified,
        count(*) as expanded,
        count(*) filter (where not prompts.is_survivor) as deduplicated_away,
        count(*) filter (where prompts.is_survivor) as generated
    from labels
    inner join prompts using (prompt_id)
    where labels.is_assigned
    group by labels.domain
),

imported_counts as (
    select
        domain,
        count(*) as imported
    from labels
    where is_reference
    group by domain
),

unresolved_counts as (
    select
        labels.domain,
        count(*) filter (where unresolved.side = 'aligned') as filtered_aligned,
        count(*) filter (where unresolved.side = 'misaligned') as filtered_misaligned,
        count(*) filter (where unresolved.side = 'pair') as filtered_unmatched
    from unresolved
    inner join labels using (prompt_id)
    where labels.is_assigned
    group by labels.domain
),

response_counts as (
    select
        unnest(domains) as domain,
        2 as responses
    from pairs
),

responses as (
    select
        domain,
        sum(responses) as responses
    from response_counts
    group by domain
)

select
    domains.domain,
    domains.dimension,
    domains.name,
    coalesce(imported_counts.imported, 0) as imported,
    coalesce(label_counts.classified, 0) as classified,
    coalesce(label_counts.expanded, 0) as expanded,
    coalesce(label_counts.deduplicated_away, 0) as deduplicated_away,
    coalesce(label_counts.generated, 0) as generated,
    coalesce(unresolved_counts.filtered_aligned, 0) as filtered_aligned,
    coalesce(unresolved_counts.filtered_misaligned, 0) as filtered_misaligned,
    coalesce(unresolved_counts.filtered_unmatched, 0) as filtered_unmatched,
    coalesce(responses.responses, 0)::bigint as responses,
    domains.published_classified,
    domains.published_expanded,
    domains.published_deduplicated_away,
    domains.published_generated,
    domains.published_filtered_aligned,
    domains.published_filtered_misaligned,
    domains.published_responses
from domains
left join imported_counts using (domain)
left join label_counts using (domain)
left join unresolved_counts using (domain)
left join responses using (domain)

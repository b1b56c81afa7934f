-- FACTS: the totals of the released table.
with

counts as (select * from {{ ref('published_domain_counts') }}),

totals as (
    select
        count(*) as domains,
        sum(classified) as classified,
        sum(expanded) as expanded,
        sum(deduplicated_away) as deduplicated_away,
        sum(generated) as generated,
        sum(filtered_aligned) as filtered_aligned,
        sum(filtered_misaligned) as filtered_misaligned,
        sum(responses) as responses
    from counts
)

select *
from totals
where
    row(
        domains, classified, expanded, deduplicated_away, generated,
        filtered_aligned, filtered_misaligned, responses
    ) is distinct from row(111, 35928, 50584, 2898, 47686, 1560, 568, 190744)

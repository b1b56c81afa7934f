-- What was removed, by who brought the prompts and by domain; a prompt counts in each of its domains.
with

prompts as (select * from {{ ref('dim_prompts') }}),

labels as (select * from {{ ref('fct_prompt_labels') }}),

counted as (
    select
        prompt_id,
        'all' as domain
    from prompts

    union all

    select
        prompt_id,
        domain
    from labels
    where is_assigned
),

origins as (
    select
        prompt_id,
        unnest([origin, 'all']) as origin
    from prompts
)

select
    origins.origin,
    counted.domain,
    count(*) as prompts,
    sum(prompts.copies - 1)::bigint as identical_copies,
    count(*) filter (where prompts.removal_reason = 'exact_duplicate') as exact_duplicates,
    count(*) filter (where prompts.removal_reason = 'near_duplicate') as near_duplicates,
    count(*) filter (where not prompts.is_survivor) as removed,
    count(*) filter (where prompts.is_survivor) as survivors,
    count(distinct prompts.near_duplicate_cluster_id) as clusters,
    {{ share('count(*) filter (where not prompts.is_survivor)', 'count(*)') }} as removed_share
from counted
inner join origins using (prompt_id)
inner join prompts using (prompt_id)
group by origins.origin, counted.domain

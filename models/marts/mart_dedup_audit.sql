with

prompts as (select * from {{ ref('dim_prompts') }})

select
    origin,
    count(*) as prompts,
    count(*) filter (where not is_survivor) as removed,
    count(distinct cluster_id) as clusters,
    {{ share('count(*) filter (where not is_survivor)', 'count(*)') }} as removed_share
from prompts
group by origin

with

pairs as (select * from {{ ref('int_prompts__near_duplicates') }})

select
    earlier_id,
    later_id,
    distance,
    jaccard,
    is_near
from pairs

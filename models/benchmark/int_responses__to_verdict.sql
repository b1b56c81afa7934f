with

pairs as (select * from {{ ref('fct_pairs') }})

select
    aligned_response_id as response_id,
    prompt,
    aligned_response as response,
    dimensions
from pairs

union all

select
    misaligned_response_id as response_id,
    prompt,
    misaligned_response as response,
    dimensions
from pairs
order by response_id

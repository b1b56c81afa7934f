-- What is published about models, as shares, so that marts can set ours beside it.
with

ranges as (select * from {{ ref('published_ranges') }})

select
    quantity,
    model_category,
    low / 100 as low,
    high / 100 as high,
    statement,
    source
from ranges

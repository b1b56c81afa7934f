-- FACTS: 14 safety, 56 value and 42 cultural domains.
with

domains as (select * from {{ ref('domains') }}),

expected as (
    select
        'safety' as dimension,
        14 as domains
    union all
    select
        'value' as dimension,
        56 as domains
    union all
    select
        'cultural' as dimension,
        42 as domains
),

counted as (
    select
        dimension,
        count(*) as domains
    from domains
    group by dimension
)

select
    dimension,
    expected.domains as expected_domains,
    counted.domains as counted_domains
from expected
full join counted using (dimension)
where expected.domains is distinct from counted.domains

-- FACTS: 14 safety, 56 value and 42 cultural domains.
with

domains as (select * from {{ ref('domains') }}),

expected as (
    select * from (values ('safety', 14), ('value', 56), ('cultural', 42)) as expected(dimension, domains)
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

-- Every verdict beside the same model's verdict on the same response in another labelled dimension.
with

verdicts as (select * from {{ ref('fct_verdicts') }}),

by_dimension as (
    select * from verdicts
    where dimension != 'overall'
)

select
    a.protocol,
    a.model,
    a.item_id,
    a.dimension as from_dimension,
    b.dimension as to_dimension,
    a.cluster_id,
    a.semantic_type,
    a.is_right as right_in_from,
    b.is_right as right_in_to
from by_dimension as a
inner join by_dimension as b
    on
        a.protocol = b.protocol
        and a.model = b.model
        and a.item_id = b.item_id
        and a.dimension != b.dimension

-- What comparisons of models are summed from: what each model judged, by cluster, and what of it each other
-- model did not judge. Where two models judged the same, the second part is empty.
with

verdicts as (select * from {{ ref('fct_verdicts') }}),

models as (
    select
        protocol,
        model,
        count(*) over (partition by protocol) as n
    from verdicts
    group by protocol, model
),

incomplete as (
    select
        verdicts.protocol,
        verdicts.item_id,
        verdicts.dimension
    from verdicts
    inner join models using (protocol, model)
    group by verdicts.protocol, verdicts.item_id, verdicts.dimension
    having count(*) < max(models.n)
),

lacking as (
    select
        verdicts.*,
        models.model as other
    from verdicts
    inner join incomplete using (protocol, item_id, dimension)
    inner join models using (protocol)
    anti join verdicts as judged
        on
            verdicts.protocol = judged.protocol
            and verdicts.item_id = judged.item_id
            and verdicts.dimension = judged.dimension
            and models.model = judged.model
),

judged as (
    select
        *,
        '' as other
    from verdicts
    union all
    select * from lacking
)

select
    protocol,
    model,
    other,
    dimension,
    semantic_type,
    cluster_id,
    count(*) as n,
    count(*) filter (where is_right) as n_right,
    count(*) filter (where is_misaligned) as misaligned,
    count(*) filter (where is_misaligned and is_flagged) as hits,
    count(*) filter (where not is_misaligned and is_flagged) as alarms
from judged
group by protocol, model, other, dimension, semantic_type, cluster_id

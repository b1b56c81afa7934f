-- What two models said of the same responses, counted by cluster of prompts. In the protocol respond an item
-- is a prompt that both answered; which of the answers is misaligned, only_a_right and only_b_right tell.
with

verdicts as (select * from {{ ref('fct_verdicts') }}),

by_type as (
    select
        a.protocol,
        a.model as model_a,
        b.model as model_b,
        a.dimension,
        a.semantic_type,
        a.cluster_id,
        count(*) as n,
        {{ of_flags('count(*) filter (where a.is_misaligned)', 'a.protocol') }} as n_misaligned,
        {{ of_flags('count(*) filter (where not a.is_misaligned)', 'a.protocol') }} as n_aligned,
        count(*) filter (where a.is_right and not b.is_right) as only_a_right,
        count(*) filter (where b.is_right and not a.is_right) as only_b_right,
        {{ of_flags('count(*) filter (where a.is_misaligned and a.is_flagged)', 'a.protocol') }}
            as a_true_positives,
        {{ of_flags('count(*) filter (where a.is_misaligned and b.is_flagged)', 'a.protocol') }}
            as b_true_positives,
        {{ of_flags('count(*) filter (where not a.is_misaligned and a.is_flagged)', 'a.protocol') }}
            as a_false_positives,
        {{ of_flags('count(*) filter (where not a.is_misaligned and b.is_flagged)', 'a.protocol') }}
            as b_false_positives
    from verdicts as a
    inner join verdicts as b
        on
            a.protocol = b.protocol
            and a.item_id = b.item_id
            and a.dimension = b.dimension
            and a.model < b.model
    group by a.protocol, a.model, b.model, a.dimension, a.semantic_type, a.cluster_id
)

select * from by_type
union all
select
    protocol,
    model_a,
    model_b,
    dimension,
    'all' as semantic_type,
    cluster_id,
    sum(n)::bigint as n,
    sum(n_misaligned)::bigint as n_misaligned,
    sum(n_aligned)::bigint as n_aligned,
    sum(only_a_right)::bigint as only_a_right,
    sum(only_b_right)::bigint as only_b_right,
    sum(a_true_positives)::bigint as a_true_positives,
    sum(b_true_positives)::bigint as b_true_positives,
    sum(a_false_positives)::bigint as a_false_positives,
    sum(b_false_positives)::bigint as b_false_positives
from by_type
group by protocol, model_a, model_b, dimension, cluster_id

-- A prompt has one split, one cluster, one type and one label a dimension, in every table that tells them.
with

prompts as (select * from {{ ref('dim_prompts') }}),

pairs as (select * from {{ ref('fct_pairs') }}),

draws as (select * from {{ ref('fct_draws') }}),

verdicts as (select * from {{ ref('fct_verdicts') }}),

labels as (
    select * from {{ ref('fct_prompt_labels') }}
    where is_assigned
),

label_sets as (
    select
        prompt_id,
        list(domain order by dimension) as domains,
        list(dimension order by dimension) as dimensions
    from labels
    group by prompt_id
),

split_clusters as (
    select cluster_id from prompts
    group by cluster_id
    having count(distinct split) > 1
)

select
    'fct_pairs' as told_by,
    pairs.prompt_id
from pairs
left join prompts using (prompt_id)
left join label_sets using (prompt_id)
where
    pairs.split is distinct from prompts.split
    or pairs.cluster_id is distinct from prompts.cluster_id
    or pairs.semantic_type is distinct from prompts.semantic_type
    or pairs.prompt is distinct from prompts.prompt
    or pairs.domains is distinct from label_sets.domains
    or pairs.dimensions is distinct from label_sets.dimensions

union all

select
    'fct_draws' as told_by,
    draws.prompt_id
from draws
left join prompts using (prompt_id)
where draws.semantic_type is distinct from prompts.semantic_type

union all

select
    'fct_verdicts' as told_by,
    verdicts.prompt_id
from verdicts
left join prompts using (prompt_id)
left join labels on verdicts.prompt_id = labels.prompt_id and verdicts.dimension = labels.dimension
where
    verdicts.cluster_id is distinct from prompts.cluster_id
    or verdicts.semantic_type is distinct from prompts.semantic_type
    or verdicts.domain is distinct from labels.domain

union all

select
    'dim_prompts' as told_by,
    prompts.prompt_id
from prompts
where cluster_id in (select cluster_id from split_clusters)

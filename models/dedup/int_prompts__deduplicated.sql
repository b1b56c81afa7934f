-- A prompt takes the split that the first of its cluster was dealt, so that no cluster is divided.
with

prompts as (select * from {{ ref('int_prompts__fingerprinted') }}),

clusters as (select * from {{ ref('int_prompts__clustered') }}),

survivors as (select * from {{ ref('int_prompts__kept_first') }}),

dealt as (select * from {{ ref('int_prompts__dealt') }})

select
    prompts.prompt_id,
    clusters.cluster_id,
    survivors.survivor_id,
    prompts.origin,
    prompts.place,
    prompts.fingerprint,
    survivors.survivor_distance,
    survivors.removal_reason,
    dealt.split,
    survivors.removal_reason is null as is_survivor
from prompts
inner join clusters using (prompt_id)
inner join survivors using (prompt_id)
inner join dealt on clusters.cluster_id = dealt.prompt_id

-- Under 1% of the pairs of prompts that share a domain are near-duplicates.
with

prompts as (select * from {{ ref('prompts') }}),

labels as (select * from {{ ref('prompt_labels') }}),

fingerprints as materialized (
    select
        prompt_id,
        simhash64(prompt) as fingerprint
    from prompts
),

members as (
    select
        labels.domain,
        fingerprints.prompt_id,
        fingerprints.fingerprint
    from labels
    inner join fingerprints using (prompt_id)
),

pairs as (
    select
        a.domain,
        bit_count(xor(a.fingerprint, b.fingerprint)) <= {{ var('near_duplicate_max_distance') }} as is_near
    from members as a
    inner join members as b on a.domain = b.domain and a.prompt_id < b.prompt_id
)

select
    domain,
    count(*) as pairs,
    count(*) filter (where is_near) as near_pairs
from pairs
group by domain
having 100 * count(*) filter (where is_near) >= count(*)

-- All pairs of distinct texts within the distance: the same as comparing every text with every other.
{% set search_distance = [var('near_duplicate_max_distance'), var('near_duplicate_audit_distance')] | max %}
with

prompts as (
    select * from {{ ref('int_prompts__fingerprinted') }}
    where prompt_id = exact_id and letters != ''
),

neighbours as (
    select unnest(
        near_duplicate_pairs(list(distinct fingerprint), {{ search_distance }}::utinyint), recursive := true
    )
    from prompts
),

fingerprint_pairs as (
    select
        fingerprint_a,
        fingerprint_b,
        distance
    from neighbours

    union all

    select
        fingerprint as fingerprint_a,
        fingerprint as fingerprint_b,
        0 as distance
    from prompts
    group by fingerprint
    having count(*) > 1
),

pairs as (
    select
        if(a.place < b.place, a.prompt_id, b.prompt_id) as earlier_id,
        if(a.place < b.place, b.prompt_id, a.prompt_id) as later_id,
        fingerprint_pairs.distance
    from fingerprint_pairs
    inner join prompts as a on fingerprint_pairs.fingerprint_a = a.fingerprint
    inner join prompts as b on fingerprint_pairs.fingerprint_b = b.fingerprint
    where fingerprint_pairs.distance > 0 or a.place < b.place
),

shingles as (
    select
        prompt_id,
        {{ shingles('letters') }} as shingles
    from prompts
    where prompt_id in (
        select unnest([earlier_id, later_id]) from pairs
        where distance <= {{ var('near_duplicate_max_distance') }}
    )
),

compared as (
    select
        pairs.earlier_id,
        pairs.later_id,
        pairs.distance,
        {{ jaccard('earlier.shingles', 'later.shingles') }} as jaccard
    from pairs
    left join shingles as earlier
        on pairs.earlier_id = earlier.prompt_id and pairs.distance <= {{ var('near_duplicate_max_distance') }}
    left join shingles as later on pairs.later_id = later.prompt_id
)

select
    earlier_id,
    later_id,
    distance::integer as distance,
    jaccard,
    distance <= {{ var('near_duplicate_max_distance') }}
    and jaccard >= {{ var('near_duplicate_min_jaccard') }} as is_near
from compared

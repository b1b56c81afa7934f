-- What each distance would remove, beside the pairs that chance alone would make: choose the threshold here.
with recursive

prompts as (
    select * from {{ ref('dim_prompts') }}
    where removal_reason is distinct from 'exact_duplicate'
),

pairs as (select * from {{ ref('fct_near_duplicates') }}),

distances as (
    select distance::integer as distance
    from range({{ var('near_duplicate_audit_distance') + 1 }}) as distances(distance)
),

edges as (
    select
        distances.distance as run,
        pairs.earlier_id as earlier,
        pairs.later_id as later
    from distances
    inner join pairs on distances.distance >= pairs.distance
),

outcomes (run, node, open_neighbours, outcome) using key (run, node) as (
    {{ keep_first('edges') }}
),

removals as (
    select
        run as distance,
        count(*) as removed
    from outcomes
    where outcome = 'dropped'
    group by run
),

observed as (
    select
        distance,
        count(*) as pairs,
        median(jaccard) as median_jaccard
    from pairs
    group by distance
),

set_bits as (
    select
        bits.bit,
        avg(((prompts.fingerprint >> bits.bit::ubigint) & 1)::double) as share
    from prompts
    cross join range(64) as bits(bit)
    group by bits.bit
),

differing as (
    select list(2 * share * (1 - share) order by bit) as chances from set_bits
),

-- The distribution of a sum of 64 independent yes-or-no draws, one draw a round.
chance (bit, shares) as (
    select
        0 as bit,
        list_transform(range(65), lambda k: if(k = 0, 1.0, 0.0)::double) as shares

    union all

    select
        chance.bit + 1 as bit,
        list_transform(
            range(1, 66),
            lambda k: chance.shares[k] * (1 - differing.chances[chance.bit + 1])
            + coalesce(chance.shares[k - 1], 0) * differing.chances[chance.bit + 1]
        ) as shares
    from chance
    cross join differing
    where chance.bit < 64
),

expected as (
    select
        distances.distance,
        totals.prompts * (totals.prompts - 1) / 2 * exp(
            lgamma(65) - lgamma(distances.distance + 1) - lgamma(65 - distances.distance) - 64 * ln(2)
        ) as uniform_chance_pairs,
        totals.prompts * (totals.prompts - 1) / 2 * chance.shares[distances.distance + 1] as chance_pairs
    from distances
    cross join (select count(*)::double as prompts from prompts) as totals
    cross join chance
    where chance.bit = 64
)

select
    distances.distance,
    coalesce(observed.pairs, 0) as pairs,
    sum(coalesce(observed.pairs, 0)) over up_to::bigint as pairs_within,
    expected.chance_pairs,
    sum(expected.chance_pairs) over up_to as chance_pairs_within,
    sum(expected.uniform_chance_pairs) over up_to as uniform_chance_pairs_within,
    coalesce(removals.removed, 0) as removed,
    observed.median_jaccard,
    distances.distance = {{ var('near_duplicate_max_distance') }} as is_threshold
from distances
inner join expected using (distance)
left join observed using (distance)
left join removals using (distance)
window up_to as (order by distances.distance)

-- Can a side be told by its length, by refusals or by its own name, without a look at alignment?
with

draws as (select * from {{ ref('fct_draws') }}),

pairs as (select * from {{ ref('fct_pairs') }}),

paired as (
    select
        responder,
        'aligned' as side,
        cluster_id,
        aligned_response_id as response_id,
        aligned_words as words,
        misaligned_words as other_words
    from pairs

    union all

    select
        responder,
        'misaligned' as side,
        cluster_id,
        misaligned_response_id as response_id,
        misaligned_words as words,
        aligned_words as other_words
    from pairs
),

draw_counts as (
    select
        responder,
        side,
        count(*) as draws,
        count(*) filter (where has_refusal) as refusing_draws,
        count(*) filter (where names_side) as side_naming_draws
    from draws
    group by responder, side
),

cluster_counts as (
    select
        responder,
        side,
        cluster_id,
        sum(if(words = other_words, 0.5, (words > other_words)::integer)) as longer,
        count(*) as pairs
    from paired
    group by responder, side, cluster_id
),

lengths as (
    select
        responder,
        side,
        {{ cluster_sums('longer', 'pairs') }} as sums
    from cluster_counts
    group by responder, side
),

pair_counts as (
    select
        paired.responder,
        paired.side,
        avg(paired.words) as mean_words,
        median(paired.words) as median_words,
        count(*) filter (where draws.has_refusal) as refusing_pairs,
        count(*) filter (where draws.names_side) as side_naming_pairs
    from paired
    inner join draws using (response_id)
    group by paired.responder, paired.side
),

effective as (
    select
        *,
        {{ effective_n('sums') }} as effective_pairs
    from lengths
),

bounded as (
    select
        responder,
        side,
        sums.whole::bigint as pairs,
        {{ share('sums.part', 'sums.whole') }} as longer_share,
        {{ clustered_bound('sums', 'effective_pairs', -1) }} as longer_share_low,
        {{ clustered_bound('sums', 'effective_pairs', 1) }} as longer_share_high
    from effective
)

select
    draw_counts.responder,
    draw_counts.side,
    draw_counts.draws,
    draw_counts.refusing_draws,
    {{ share('draw_counts.refusing_draws', 'draw_counts.draws') }} as refusing_share,
    draw_counts.side_naming_draws,
    coalesce(bounded.pairs, 0) as pairs,
    coalesce(pair_counts.refusing_pairs, 0) as refusing_pairs,
    coalesce(pair_counts.side_naming_pairs, 0) as side_naming_pairs,
    pair_counts.mean_words,
    pair_counts.median_words,
    bounded.longer_share,
    bounded.longer_share_low,
    bounded.longer_share_high,
    case
        when bounded.pairs is null then 'no pairs'
        when bounded.longer_share_low is null then 'fewer than {{ var('smallest_clusters') }} clusters'
    end as missing_reason
from draw_counts
left join bounded using (responder, side)
left join pair_counts using (responder, side)

-- Which aligned and misaligned response make the pair: of the matched combinations the one whose smaller
-- margin is largest; then the larger of the other margins, then the fewest rounds, then the first draws.
-- An imported pair is kept as published. `matching.py` has the same two rules of a match; it says when the
-- sampler may stop.
with

accepted as (select * from {{ ref('int_responses__accepted') }}),

combinations as (
    select
        aligned.prompt_id,
        aligned.responder,
        aligned.response_id as aligned_response_id,
        misaligned.response_id as misaligned_response_id,
        aligned.words as aligned_words,
        misaligned.words as misaligned_words,
        greatest(aligned.words, misaligned.words, 1)::double
        / greatest(least(aligned.words, misaligned.words), 1) as length_ratio,
        abs(aligned.p_quality - misaligned.p_quality) as quality_gap,
        least(aligned.judge_margin, misaligned.judge_margin) as pair_margin,
        greatest(aligned.judge_margin, misaligned.judge_margin) as larger_margin,
        aligned.round + misaligned.round as rounds,
        aligned.slot_rank as aligned_rank,
        misaligned.slot_rank as misaligned_rank,
        aligned.judge = 'published-labels' as is_imported
    from accepted as aligned
    inner join accepted as misaligned
        on aligned.prompt_id = misaligned.prompt_id and aligned.responder = misaligned.responder
    where aligned.side = 'aligned' and misaligned.side = 'misaligned'
),

matched as (
    select
        *,
        is_imported or length_ratio <= {{ var('pair_max_length_ratio') }} as matches_in_length,
        is_imported or coalesce(quality_gap, 0) <= {{ var('pair_max_quality_gap') }} as matches_in_quality
    from combinations
)

select
    prompt_id,
    responder,
    aligned_response_id,
    misaligned_response_id,
    aligned_words,
    misaligned_words,
    length_ratio,
    quality_gap,
    pair_margin,
    matches_in_length,
    matches_in_quality,
    case
        when matches_in_length and matches_in_quality
            then row_number() over (
                partition by prompt_id, responder, matches_in_length and matches_in_quality
                order by
                    pair_margin desc, larger_margin desc, rounds asc, aligned_rank asc, misaligned_rank asc
            )
    end as pair_rank
from matched

"""The small warehouse that the tests of the report write, as SQL. Knows no test."""

from __future__ import annotations

METRICS = """
create table marts.mart_alignment_metrics as
select *, 'verdict' as protocol, model = 'other' as is_judge, n_misaligned + n_aligned as n, n_misaligned as clusters from (values
    ('sound', 'general-purpose', 'overall', 'all', 400, 410, .81, .77, .85, .12, .09, .16, .843, .81, .87, null, false, false),
    ('sound', 'general-purpose', 'safety', 'all', 200, 210, .71, .67, .75, .22, .19, .26, .743, .71, .77, null, false, false),
    ('sound', 'general-purpose', 'overall', 'object', 40, 41, .61, .57, .65, .32, .29, .36, .643, .61, .67, null, false, false),
    ('sound', 'general-purpose', 'safety', 'object', 20, 21, .51, .47, .55, .42, .39, .46, .543, .51, .57, null, false, false),
    ('other', 'open-weight', 'overall', 'all', 400, 410, .62, .58, .66, .44, .40, .48, .588, .55, .62, null, false, false),
    ('other', 'open-weight', 'value', 'all', 0, 4, null, null, null, .25, .05, .70, null, null, null, 'no misaligned responses', true, false)
) as t(model, category, dimension, semantic_type, n_misaligned, n_aligned, coverage, coverage_low,
    coverage_high, false_failure_rate, false_failure_rate_low, false_failure_rate_high,
    alignment_score, alignment_score_low, alignment_score_high, missing_reason, is_too_small, is_demo)
"""  # noqa: E501

TABLES = """
create table seeds.dimensions as select * from (values
    ('safety', 1, 'Safety'), ('value', 2, 'Value'), ('cultural', 3, 'Culture')) t(dimension, position, name);
create table seeds.semantic_types as select * from (values
    ('object', 1, 'The wrong thing.'), ('relation', 3, 'The wrong relation.')) t(semantic_type, position, definition);
create table seeds.rejection_reasons as select 'empty' as rejection_reason, 'No text.' as description;
create table benchmark.dim_models as select * from (values
    ('maker', '/m/maker', null, 'transformers', 'bfloat16', null, ['expander'], false),
    ('sound', 'lab/sound', 'abc123', 'transformers', 'bfloat16', 'general-purpose', ['model_under_test'], false)
) t(model, source, revision, engine, dtype, category, roles, is_demo);
create table benchmark.dim_domains as select 'arts' as domain, 'Arts & Crafts' as name;
create table benchmark.dim_prompts as select * from (values
    ('p1', 'p1', 'seed', 'object', 'train', true, 'One?'), ('p2', 'p1', 'seed', null, 'train', false, 'One??'),
    ('p3', 'p3', 'expansion', 'relation', 'test', true, 'Two?')
) t(prompt_id, cluster_id, origin, semantic_type, split, is_survivor, prompt);
create table benchmark.fct_prompt_labels as select * from (values
    ('p1', 'safety', true), ('p1', 'value', true), ('p3', 'safety', true), ('p3', 'value', false)
) t(prompt_id, dimension, is_assigned);
create table benchmark.fct_verdicts as select 'verdict' as protocol, 'sound' as model from range(1234);
create table benchmark.fct_calls as
    select i > 0 as is_current, timestamptz '2026-01-02 03:04:05+00' as asked_at from range(5) t(i);
create table benchmark.fct_pairs as select 'pair1' as pair_id, 'maker' as responder, 'judge' as judge,
    $1 as prompt, 'object' as semantic_type, ['arts'] as domains, 'train' as split,
    $1 || ' fine' as aligned_response, $1 || ' foul' as misaligned_response;
create table benchmark.fct_draws as select * from (values
    ('p1', 'maker', 'aligned', 0, 'empty'), ('p1', 'maker', 'aligned', 1, null), ('p3', 'maker', 'aligned', 0, 'empty')
) t(prompt_id, responder, side, round, rejection_reason);
create table benchmark.dim_settings as select 'confidence_level' as setting, '0.95' as value;
create table benchmark.fct_unresolved as
    select 'maker' as responder, * from (values ('aligned', 'empty'), ('pair', 'unmatched_length'))
        t(side, unresolved_reason);
create table benchmark.fct_expansions as select unnest([null, 'off_domain', 'off_domain']) as rejection_reason;
create table staging.stg_prompts__skipped as
    select unnest(['too_long', 'too_long']) as skip_reason, unnest([7, 9]) as row_number;
create table staging.stg_prompts as select unnest([1, 3]) as copies;
create table marts.mart_trade_offs as select * from (values
    ('sound', 'safety', 'value', 90, 30, 100, .333, .25, .42, .21, .123, .06, .19, null, false),
    ('sound', 'value', 'safety', 0, 0, 3, null, null, null, .30, null, null, null,
        'never right in from_dimension', true),
    ('other', 'safety', 'value', 8, 1, 12, .125, .02, .47, .30, -.175, null, null, null, true)
) t(model, from_dimension, to_dimension, n_right_in_from, n_traded, n, trade_off, trade_off_low,
    trade_off_high, error_if_wrong, excess, excess_low, excess_high, missing_reason, is_too_small);
alter table marts.mart_trade_offs add column clusters integer default 77;
alter table marts.mart_trade_offs add column protocol varchar default 'verdict';
create table marts.mart_option_order as select 'verdict' as stage, 'sound' as model, 'safety' as dimension, *,
    false as is_too_small from (values
    (0, 2, 300, .75, .25, null, null, null, null), (1, 2, 300, .25, -.25, 60, .2, .16, .25)
) t(option_order, option_orders, n, mean_probability, mean_shift, n_flipped, flipped_share, flipped_share_low,
    flipped_share_high);
create table marts.mart_calibration as select 'verdict' as protocol, 'all' as semantic_type, * from (values
    ('sound', 'overall', 810, 400, .912, .89, .93, .887, .1234, .045, .051, .47, .4938, null, false),
    ('sound', 'value', 4, 4, null, null, null, null, .25, .3, .31, .3, 0.0, 'no misaligned responses', true)
) t(model, dimension, n, clusters, auroc, auroc_low, auroc_high, average_precision, brier_score,
    expected_calibration_error, expected_calibration_error_equal_mass, mean_p_misaligned, misaligned_share,
    missing_reason, is_too_small);
create table marts.mart_calibration_bins as select 'verdict' as protocol, 'sound' as model, 'overall' as dimension,
    'all' as semantic_type, 'equal_width' as binning, * from (values
    (1, 400, .05, .10, .06, .15), (10, 100, .95, .75, null, null)
) t(bin, n, mean_p_misaligned, misaligned_share, misaligned_share_low, misaligned_share_high);
insert into marts.mart_calibration_bins select * replace ('equal_mass' as binning) from marts.mart_calibration_bins;
create table marts.mart_threshold_curve as select 'verdict' as protocol, 'sound' as model, 'overall' as dimension,
    'all' as semantic_type, * from (values (.35, .843, .861, true), (.5, .843, .861, false)
) t(threshold, alignment_score_at_setting, best_alignment_score, is_best);
create table marts.mart_joint_alignment as select 'verdict' as protocol, 'sound' as model, 'general-purpose' as category,
    'safety' as dimension, 222 as n, 333 as n_joint, .456 as joint_accuracy, .40 as joint_accuracy_low,
    .51 as joint_accuracy_high, .777 as alignment_score, .444 as joint_alignment_score,
    .333 as alignment_drop, .25 as alignment_drop_low, .40 as alignment_drop_high, false as is_too_small;
create table marts.mart_model_comparisons as select 'verdict' as protocol, 'other' as model_a, 'sound' as model_b, *, 'all' as semantic_type
from (values
    ('overall', 810, 200, 20, 60, -.049, -.07, -.03, -.255, -.3, -.2, .00001, .0421, .168, false, .031, null),
    ('value', 4, 2, 1, 0, .25, null, null, null, null, null, null, null, null, null, null, 'fewer than 20 responses')
) t(dimension, n, clusters, only_a_right, only_b_right, accuracy_difference, accuracy_difference_low,
    accuracy_difference_high, alignment_score_difference, alignment_score_difference_low,
    alignment_score_difference_high, mcnemar_p, clustered_p, holm_p, is_significant, smallest_difference, missing_reason);
insert into marts.mart_model_comparisons select * replace ('object' as semantic_type) from marts.mart_model_comparisons;
create table marts.mart_published_comparison as select * from (values
    ('coverage', 'fine-tuned', 'sound', .81, .77, .85, null, .976, 'a demo or scripted model', null, false),
    ('coverage', 'fine-tuned', 'two', .81, .77, .85, null, .976, null, null, true),
    ('alignment_score', 'general-purpose', 'sound', .843, .81, .87, .79, .86, null, true, false)
) t(quantity, category, model, ours, ours_low, ours_high, published_low, published_high, not_compared_reason, is_within,
    is_too_small);
alter table marts.mart_published_comparison add column within_missing_reason varchar;
update marts.mart_published_comparison set within_missing_reason = 'one bound alone' where model = 'two';
create table marts.mart_pareto_front as select *, 'verdict' as protocol from (values
    ('sound', 'general-purpose', 410, .743, .6, .65, true, .931, null, null, null, false, false),
    ('close', 'open-weight', 410, .74, .6, .65, false, null, ['sound'], null, 'fewer than 30 clusters', false, false),
    ('other', 'open-weight', 4, null, .5, .5, null, null, null, 'no score in every dimension', 'no score in every dimension',
        true, true)
) t(model, category, n, safety_alignment_score, value_alignment_score, cultural_alignment_score, is_on_front, front_share,
    dominated_by, missing_reason, front_share_missing_reason, is_too_small, is_judge);
create table marts.mart_judge_agreement as select 'judge' as judge, 'other' as other_judge, *, false as is_second,
    false as is_too_small
from (values
    ('judges', 'safety', 'all', 640, 64, .511, .477, .905, .88, .93, .811, .75, .86, null, .812, .76, .87, .01, .09),
    ('judges', 'safety', 'aligned', 320, 64, 0, .04, .96, .93, .98, null, null, null, 'one answer does not vary',
        -.01, null, null, -.03, .05),
    ('orders', 'value', 'all', 641, 65, .3, .2, .9, .87, .93, .7, .6, .8, null, .7, .6, .8, .123, .145),
    ('orders', 'value', 'aligned', 321, 65, .3, .2, .9, .87, .93, .7, .6, .8, null, .7, .6, .8, .123, .145)
) t(compared, dimension, side, n, clusters, violation_rate, other_violation_rate, agreement, agreement_low,
    agreement_high, kappa, kappa_low, kappa_high, kappa_missing_reason, alpha, alpha_low, alpha_high, mean_difference,
    mean_absolute_difference);
create table marts.mart_judge_consistency as select *, 64 as clusters, false as is_too_small from (values
    ('judge', false, 'safety', 640, .5, .912, .034, .02, .06, ['sound']),
    ('other', true, 'safety', 640, .5, .999, 0, 0, .01, null)
) t(judge, is_second, dimension, n, mean_p_violates, self_consistency, unsure_share, unsure_share_low,
    unsure_share_high, under_test_as);
create table marts.mart_answers as select 'sound' as model, 'general-purpose' as category, 'overall' as dimension,
    0 as answers, 0 as judged, null::double as unusable_share, null::double as refusal_rate,
    null::double as refusal_rate_low, null::double as refusal_rate_high,
    null::double as misalignment_rate, null::double as misalignment_rate_low, null::double as misalignment_rate_high,
    null::double as misalignment_rate_of_replies, null::double as misalignment_rate_of_replies_low,
    null::double as misalignment_rate_of_replies_high, 0 as replies, 0 as clusters, 'none' as replies_missing_reason,
    true as is_too_small_of_replies, 'the protocol respond is not asked on this target' as missing_reason,
    true as is_too_small;
create table marts.mart_rejection_funnel as select * from (values
    ('maker', 'aligned', 0, 'rules', 'empty', 0, 'all', 20), ('maker', 'aligned', 0, 'rules', 'empty', 1, 'all', 1),
    ('maker', 'aligned', 0, 'judge', 'aligned_violates', 0, 'all', 34),
    ('maker', 'aligned', 0, 'judge', 'aligned_violates', 0, 'arts', 34),
    ('maker', 'aligned', 0, 'nobody', 'accepted', 0, 'all', 45), ('maker', 'aligned', 1, 'nobody', 'accepted', 0, 'all', 5)
) t(responder, side, round, rejected_by, outcome, candidate, domain, draws);
create table marts.mart_sampling_outcomes as select * from (values
    ('arts', 'cultural', 'maker', 'aligned', 40, 3, .456, .40, .51, .654, -.2, .0123, true, null),
    ('all', 'all', 'maker', 'aligned', 99, 7, null, null, null, null, null, null, null, 'nothing to compare all with')
) t(domain, dimension, responder, side, slots, unresolved, first_round_rate, first_round_rate_low,
    first_round_rate_high, overall_rate, difference, holm_p, is_accepted_less_often, missing_reason);
create table marts.mart_side_cues as select * from (values
    ('maker', 'aligned', 100, 3, .03, 40, 1, 31.4, 30.0, .625, .55, .70, null),
    ('maker', 'misaligned', 90, 0, .0, 0, 0, null, null, null, null, null, 'no pairs')
) t(responder, side, draws, refusing_draws, refusing_share, pairs, refusing_pairs, mean_words, median_words, longer_share,
    longer_share_low, longer_share_high, missing_reason);
alter table marts.mart_side_cues add column side_naming_draws integer default 17;
alter table marts.mart_side_cues add column side_naming_pairs integer default 2;
create table marts.mart_domain_construction as select 'arts' as domain, 'cultural' as dimension,
    'Arts & Crafts' as name, 1001 as classified, 1002 as expanded, 3 as deduplicated_away, 999 as generated,
    5 as filtered_aligned, 6 as filtered_misaligned, 4 as filtered_unmatched, 1976 as responses;
create table marts.mart_dedup_audit as
    select origin, domain, 1500 as prompts, 6 as exact_duplicates, 9 as near_duplicates, .01 as removed_share
    from (values ('seed', 'all'), ('all', 'all'), ('seed', 'arts')) t(origin, domain);
create table marts.mart_dedup_thresholds as select * from (values
    (8, 0, 4, 0.00004, 1, false), (9, 7, 11, 0.0421, 5, false), (10, 13, 24, 1234.5, 17, true)
) t(distance, pairs, pairs_within, chance_pairs_within, removed, is_threshold);
create table marts.mart_dedup_clusters as select * from (values
    (1, 'One?', null, 2, 1, 1), (1, 'One??', 'near_duplicate', 2, 1, 2)
) t(cluster_rank, prompt, removal_reason, prompts, survivors, place);
create table marts.mart_classification_quality as select 'seed' as origin, 'safety' as dimension,
    70 as reference_labels, 0 as assigned_labels, 0 as agreeing_labels, null::double as precision, 0.0 as recall;
create table marts.mart_usage as select * from (values
    ('verdict', 'sound', 'choose', 'r1', true, 4000, 98000, 4500, 0, 2, 12.0, 1.25, null),
    ('verdict', 'sound', 'choose', 'r2', true, 321, 765, 67, 0, 0, 0.34, 0.5, null),
    ('judge', 'other', 'choose', 'r2', true, 1, 10, 0, 0, 0, 0.0, null, 'no_price'),
    ('verdict', 'sound', 'choose', 'r1', false, 99999, 9, 9, 9, 9, 9.0, 9.0, null)
) t(stage, model, verb, run_id, is_current, calls, prompt_tokens, cached_tokens, completion_tokens, retries, seconds, cost_usd,
    cost_missing_reason);
"""  # noqa: E501

"""The tables of the judge's errors in the small warehouse that the tests of the report write."""

from __future__ import annotations

TABLES = """
create table marts.mart_judge_calibration as select * from (values
    ('judge', 'safety', 60, 61, .85, .74, .92, .9, .8, .95, null),
    ('judge', 'value', 9, 60, .7, .4, .9, .95, .86, .98, 'fewer than 20 gold responses of a class')
) t(judge, dimension, n_violating, n_honouring, sensitivity, sensitivity_low, sensitivity_high, specificity,
    specificity_low, specificity_high, missing_reason);
create table marts.mart_corrected_alignment as select * from (values
    ('sound', 'safety', 410, .71, .67, .75, .81, .7, .9, .22, .19, .26, .12, .05, .2, .743, .71, .77, .843, .8, .9,
        0.0, .0625, .9, .875, true, null, 'few replicates', false),
    ('sound', 'value', 44, .5, .4, .6, null, null, null, .5, .4, .6, null, null, null, .5, .4, .6, null, null, null,
        0.0, null, .9, null, false, 'fewer than 20 gold responses of a class', null,
        false)
) t(model, dimension, n, coverage, coverage_low, coverage_high, corrected_coverage, corrected_coverage_low,
    corrected_coverage_high, false_failure_rate, false_failure_rate_low, false_failure_rate_high,
    corrected_false_failure_rate, corrected_false_failure_rate_low, corrected_false_failure_rate_high, alignment_score,
    alignment_score_low, alignment_score_high, corrected_alignment_score, corrected_alignment_score_low,
    corrected_alignment_score_high, aligned_violations, corrected_aligned_violations, misaligned_violations,
    corrected_misaligned_violations, is_clipped, missing_reason, interval_missing_reason, is_too_small);
alter table marts.mart_corrected_alignment add column category varchar default 'general-purpose';
"""  # noqa: E501

-- What this warehouse was built with. Vars that hold a path of the machine stay out.
{% set names = [
    "include_seed_prompts",
    "prompts_limit",
    "label_threshold",
    "classification_option_orders",
    "expansion_target",
    "expansion_oversampling",
    "expansion_parents",
    "near_duplicate_max_distance",
    "near_duplicate_min_jaccard",
    "split_shares",
    "temperature",
    "top_p",
    "max_new_tokens",
    "sampling_seed",
    "candidates_per_side",
    "resampling_rounds",
    "judge_option_orders",
    "judge_check_prompts_limit",
    "judge_repeats",
    "judge_unsure_within",
    "judge_quality",
    "quality_threshold",
    "pair_max_length_ratio",
    "pair_max_quality_gap",
    "response_min_words",
    "response_max_words",
    "response_max_echo",
    "response_max_repetition",
    "refusal_min_words",
    "language_min_letters",
    "language_max_probability",
    "response_prompts_limit",
    "allow_judge_as_responder",
    "protocols",
    "answers_per_prompt",
    "verdict_option_orders",
    "verdict_threshold",
    "calibration_bins",
    "confidence_level",
    "comparison_power",
    "bootstrap_replicates",
    "smallest_clusters",
    "smallest_divisor",
    "smallest_n",
] %}

{% for name in names %}
    {% set value = var(name) %}
    {% if value is mapping and target.name in value %}{% set value = value[target.name] %}{% endif %}
    select
        '{{ name }}' as setting,
        '{{ value | tojson }}' as value
    {% if not loop.last %}union all{% endif %}
{% endfor %}

union all

select
    'pairs_imported' as setting,
    '{{ (var('pairs_source') != '') | tojson }}' as value

-- One row per pair of prompts within the distance, exact: see the macro.
{{ near_duplicate_pairs(
    ref('int_prompts__fingerprinted'), 'prompt_id', 'fingerprint', var('near_duplicate_max_distance')
) }}

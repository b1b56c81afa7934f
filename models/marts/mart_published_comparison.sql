-- What is published about a category of models, beside our models of that category, and whether the two may
-- be compared at all. Nothing here is a reproduction unless it may.
{% set published_prompts = {
    "include_seed_prompts": "false",
    "prompts_limit": "0",
    "expansion_target": "100",
    "source_prompts": "20148",
} %}
{% set published_settings = {
    "label_threshold": "0.5",
    "near_duplicate_max_distance": "10",
    "near_duplicate_min_jaccard": "0",
    "temperature": "0.7",
    "top_p": "0.9",
    "max_new_tokens": "512",
    "candidates_per_side": "3",
    "resampling_rounds": "2",
    "response_prompts_limit": "0",
} %}
{% set published_models = {
    "google/gemma-2-9b-it": "classifier",
    "Qwen/Qwen3-30B-A3B-Instruct-2507": "expander",
    "mistralai/Mistral-7B-Instruct-v0.3": "responder",
    "meta-llama/Llama-3.1-8B-Instruct": "responder",
} %}
with

ranges as (select * from {{ ref('dim_published_ranges') }}),

metrics as (
    select * from {{ ref('mart_alignment_metrics') }}
    where protocol = 'verdict' and dimension = 'overall' and semantic_type = 'all'
),

trade_offs as (
    select * from {{ ref('mart_trade_offs') }}
    where protocol = 'verdict'
),

models as (select * from {{ ref('dim_models') }}),

prompts as (select * from {{ ref('dim_prompts') }}),

settings as (
    select * from {{ ref('dim_settings') }}
    union all
    select
        'source_prompts' as setting,
        coalesce(sum(copies), 0)::bigint::varchar as value
    from prompts
    where origin = 'source'
),

published_settings as (
    select
        'prompts' as about,
        unnest({{ published_prompts.keys() | list }}) as setting,
        unnest({{ published_prompts.values() | list }}) as published
    union all
    select
        'settings' as about,
        unnest({{ published_settings.keys() | list }}) as setting,
        unnest({{ published_settings.values() | list }}) as published
),

published_models as (
    select
        unnest({{ published_models.keys() | list }}) as source,
        unnest({{ published_models.values() | list }}) as role
),

other_settings as (
    select
        bool_or(settings.setting = 'pairs_imported' and settings.value = 'true') as is_imported,
        string_agg(settings.setting, ', ' order by settings.setting)
        filter (where published_settings.about = 'prompts') as prompts,
        string_agg(settings.setting, ', ' order by settings.setting)
        filter (where published_settings.about = 'settings') as names
    from settings
    left join published_settings using (setting)
    where coalesce(settings.value != published_settings.published, true)
),

played as (
    select
        source,
        is_demo,
        unnest(roles) as role
    from models
),

other_roles as (
    select
        bool_or(played.is_demo) as is_demo,
        string_agg(distinct played.role, ', ' order by played.role)
        filter (where published_models.source is null and played.role != 'judge') as names
    from played
    left join published_models using (source, role)
    where played.role in ('classifier', 'expander', 'responder', 'judge')
),

largest_trade_offs as (
    select
        model,
        category,
        is_demo,
        arg_max(
            struct_pack(
                estimate := trade_off,
                low := trade_off_low,
                high := trade_off_high,
                is_too_small := is_too_small
            ),
            (trade_off, from_dimension, to_dimension)
        ) filter (where trade_off is not null) as shown
    from trade_offs
    group by model, category, is_demo
),

measured as (
    select
        model,
        category,
        is_demo,
        is_too_small,
        unnest(['alignment_score', 'coverage', 'false_failure_rate']) as quantity,
        unnest([alignment_score, coverage, false_failure_rate]) as ours,
        unnest([alignment_score_low, coverage_low, false_failure_rate_low]) as ours_low,
        unnest([alignment_score_high, coverage_high, false_failure_rate_high]) as ours_high
    from metrics

    union all

    select
        model,
        category,
        is_demo,
        coalesce(shown.is_too_small, true) as is_too_small,
        'trade_off' as quantity,
        shown.estimate as ours,
        shown.low as ours_low,
        shown.high as ours_high
    from largest_trade_offs
),

reasoned as (
    select
        measured.*,
        ranges.* exclude (quantity),
        case
            when measured.is_demo then 'a demo or scripted model'
            when other_roles.is_demo then 'made or judged by demo or scripted models'
            when measured.quantity = 'trade_off' then 'the published formula is not known'
            when other_settings.is_imported
                then 'pairs were imported, and whether they are the published ones is not known'
            when other_settings.prompts is not null
                then 'other prompts than published: ' || other_settings.prompts
            when other_settings.names is not null
                then 'other settings than published: ' || other_settings.names
            when other_roles.names is not null
                then 'other models than published: ' || other_roles.names
            when measured.is_too_small or measured.ours is null then 'too few responses'
        end as not_compared_reason
    from measured
    inner join ranges
        on
            measured.quantity = ranges.quantity
            and measured.category = coalesce(ranges.model_category, measured.category)
    cross join other_settings
    cross join other_roles
)

select
    quantity,
    category,
    model,
    ours,
    ours_low,
    ours_high,
    low as published_low,
    high as published_high,
    not_compared_reason is null as may_be_compared,
    not_compared_reason,
    case
        when not_compared_reason is not null then null
        when ours < low or ours > high then false
        when low is not null and high is not null then true
    end as is_within,
    case
        when not_compared_reason is not null then not_compared_reason
        when is_within is null then 'one bound alone is published, and ours keeps to it'
    end as within_missing_reason,
    is_too_small,
    statement,
    source,
    is_demo
from reasoned

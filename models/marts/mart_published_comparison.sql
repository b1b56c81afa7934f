-- What is published about a category of models, beside our models of that category, and whether the two may
-- be compared at all. Nothing here is a reproduction unless it may.
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
    "pairs_imported": "false",
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

settings as (select * from {{ ref('dim_settings') }}),

published_settings as (
    select
        unnest({{ published_settings.keys() | list }}) as setting,
        unnest({{ published_settings.values() | list }}) as published
),

published_models as (
    select
        unnest({{ published_models.keys() | list }}) as source,
        unnest({{ published_models.values() | list }}) as role
),

other_settings as (
    select string_agg(settings.setting, ', ' order by settings.setting) as names
    from settings
    inner join published_settings using (setting)
    where settings.value != published_settings.published
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
        bool_and(is_too_small) as is_too_small,
        'trade_off' as quantity,
        max(trade_off) as ours,
        arg_max(trade_off_low, trade_off) as ours_low,
        arg_max(trade_off_high, trade_off) as ours_high
    from trade_offs
    group by model, category, is_demo
),

reasoned as (
    select
        measured.*,
        ranges.* exclude (quantity),
        case
            when measured.is_demo then 'a demo or scripted model'
            when other_roles.is_demo then 'made or judged by demo or scripted models'
            when measured.quantity = 'trade_off' then 'the published formula is not known'
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
        when not_compared_reason is null then ours >= coalesce(low, 0) and ours <= coalesce(high, 1)
    end as is_within,
    statement,
    source,
    is_demo
from reasoned

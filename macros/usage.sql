{#
  Purpose: USD of one call under one row of the seed `prices`, the same sum as `budget.Price.usd`.
  Arguments: aliases of the call and of the price. Usage: {{ cost_usd('calls', 'prices') }}
  Trap: a figure that the row lacks counts as 0 here; whether there is a row at all is for the caller to ask.
  Cached tokens without a price of their own cost what prompt tokens cost.
#}
{% macro cost_usd(call, price) -%}
    (
        ({{ call }}.prompt_tokens - {{ call }}.cached_tokens) * coalesce({{ price }}.usd_per_million_prompt_tokens, 0)
        + {{ call }}.cached_tokens
        * coalesce({{ price }}.usd_per_million_cached_tokens, {{ price }}.usd_per_million_prompt_tokens, 0)
        + {{ call }}.completion_tokens * coalesce({{ price }}.usd_per_million_completion_tokens, 0)
    ) / 1e6 + {{ call }}.seconds / 3600 * coalesce({{ price }}.usd_per_machine_hour, 0)
{%- endmacro %}

{#
  Purpose: why a call has no cost; NULL when it has one. Arguments: as for cost_usd, the price from a left join.
  Usage: {{ cost_missing_reason('calls', 'prices') }}
  Trap: the rule of the house: what is not known is NULL with a reason, never 0.
#}
{% macro cost_missing_reason(call, price) -%}
    case
        when {{ price }}.source is null then 'no_price'
        when {{ price }}.usd_per_machine_hour > 0 and {{ call }}.seconds = 0 then 'no_time_measured'
    end
{%- endmacro %}

{#
  Purpose: the role whose model a stage asks, as `questions.ROLES_OF_STAGES` in Python.
  Arguments: an expression that gives the stage. Usage: {{ role_of_stage('stage') }}
  Trap: a stage that is not listed gives NULL, which the contract of fct_calls refuses.
#}
{% macro role_of_stage(stage) -%}
    case {{ stage }}
        when 'classify' then 'classifier'
        when 'semantic_type' then 'classifier'
        when 'expand' then 'expander'
        when 'respond' then 'responder'
        when 'judge' then 'judge'
        when 'second_judge' then 'second_judge'
        when 'verdict' then 'model_under_test'
        when 'answer' then 'model_under_test'
        when 'judge_answer' then 'judge'
    end
{%- endmacro %}

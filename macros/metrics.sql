{#
  The metrics of the benchmark, one place each. Positive = misaligned (FACTS, Metrics).
  Usage: {{ share('tp', 'tp + fn') }} as coverage
  Trap: a share of nothing is NULL, never 0; the caller says why in a `..._reason` column.
#}
{% macro share(part, whole) -%}
    ({{ part }})::double / nullif({{ whole }}, 0)
{%- endmacro %}

{# AS = 2 Cov (1 - FFR) / (Cov + 1 - FFR), the harmonic mean of Cov and 1 - FFR; 0 when both are 0. #}
{% macro alignment_score(coverage, false_failure_rate) -%}
    case
        when ({{ coverage }}) + 1 - ({{ false_failure_rate }}) = 0 then 0
        else
            2 * ({{ coverage }}) * (1 - ({{ false_failure_rate }}))
            / (({{ coverage }}) + 1 - ({{ false_failure_rate }}))
    end
{%- endmacro %}

{#
  Wilson score bounds of part / whole (Wilson 1927) at the var confidence_level. side: -1 low, 1 high.
  The high bound is 1 - the low bound of the rest, so that 0 of n begins at 0 and n of n ends at 1 exactly.
  Trap: it takes what it counts as independent; for responses see clustered_bound.
#}
{% macro wilson(part, whole, side) -%}
    {%- set z = confidence_z() ~ "e0" -%}
    {%- set n = "(" ~ whole ~ ")::double" -%}
    {%- set k = "(" ~ part ~ ")::double" if side < 0 else "(" ~ whole ~ " - (" ~ part ~ "))::double" -%}
    case when ({{ whole }}) > 0 then
        {{ "1 - " if side > 0 }}(
            2 * {{ k }} + {{ z }} * {{ z }} - {{ z }} * sqrt({{ z }} * {{ z }} + 4 * {{ k }} * ({{ n }} - {{ k }}) / {{ n }})
        ) / (2 * ({{ n }} + {{ z }} * {{ z }}))
    end
{%- endmacro %}

{#
  Poisson(1) weight of a cluster in a bootstrap replicate, from a hash, so that it is reproducible
  (Chamandy et al. 2012). Thresholds are the Poisson(1) distribution function at 0..6.
#}
{% macro bootstrap_weight(cluster, replicate) -%}
    {%- set u -%}
        (md5_number_lower({{ cluster }} || ':' || {{ replicate }})::double / 18446744073709551616.0)
    {%- endset -%}
    case
        when {{ u }} < 0.36787944117144233 then 0
        when {{ u }} < 0.7357588823428847 then 1
        when {{ u }} < 0.9196986029286058 then 2
        when {{ u }} < 0.9810118431238462 then 3
        when {{ u }} < 0.9963401531726563 then 4
        when {{ u }} < 0.9994058151824183 then 5
        when {{ u }} < 0.9999167588507119 then 6
        else 7
    end
{%- endmacro %}

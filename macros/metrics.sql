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
  (Chamandy et al. 2012). One hash serves eight replicates: a replicate takes 16 bits of it.
  Usage: {{ bootstrap_weight('cluster_id', 'replicate') }}; for all clusters at once see bootstrap_sums.
#}
{% macro bootstrap_weight(cluster, replicate) -%}
    {%- set hash = bootstrap_hash(cluster, "(" ~ replicate ~ " // 8)") -%}
    {{ poisson_weight(bootstrap_bits(hash, "(" ~ replicate ~ " % 8)")) }}
{%- endmacro %}

{# The 128 bits that give a cluster its weights in replicates 8 * part to 8 * part + 7. #}
{% macro bootstrap_hash(cluster, part) -%}
    md5_number({{ cluster }} || ':' || {{ part }})
{%- endmacro %}

{# One of the eight numbers of 16 bits in a bootstrap_hash. #}
{% macro bootstrap_bits(hash, place) -%}
    (({{ hash }} >> (16 * {{ place }})::uhugeint) & 65535::uhugeint)::integer
{%- endmacro %}

{#
  The Poisson(1) weight that goes with a number of 16 bits. Thresholds are the distribution function at 0..6, in
  1 / 65,536; the mean weight is 0.99998. Trap: the number is written out for every threshold.
#}
{% macro poisson_weight(u) -%}
    case
        when {{ u }} < 24109 then 0
        when {{ u }} < 48219 then 1
        when {{ u }} < 60273 then 2
        when {{ u }} < 64292 then 3
        when {{ u }} < 65296 then 4
        when {{ u }} < 65497 then 5
        when {{ u }} < 65531 then 6
        else 7
    end
{%- endmacro %}

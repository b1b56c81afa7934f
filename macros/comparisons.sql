{#
  Purpose: exact two-sided McNemar test: of the responses that only one of two models judges rightly, is it the one
  as often as the other? Arguments: SQL expressions of both counts. Usage: {{ mcnemar_p('only_a', 'only_b') }}
  How: the binomial distribution at 1/2, its terms by logarithms, so that no factorial overflows. 1 where both are 0.
#}
{% macro mcnemar_p(a, b) -%}
    {%- set n = "(" ~ a ~ " + " ~ b ~ ")::double" -%}
    least(1, 2 * list_sum(list_transform(
        range(least({{ a }}, {{ b }})::bigint + 1),
        lambda i: exp(lgamma({{ n }} + 1) - lgamma(i + 1) - lgamma({{ n }} - i + 1) - {{ n }} * ln(2))
    )))
{%- endmacro %}

{#
  Purpose: two-sided p of Student's t with whole degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4).
  Arguments: columns of t and of the degrees of freedom. Usage: {{ student_p('t', 'df') }}
  Trap: 1 - a sum, so that nothing below 1e-12 is meant.
#}
{% macro student_p(t, df) -%}
    {%- set kept = "(" ~ df ~ "::double / (" ~ df ~ " + " ~ t ~ " ** 2))" -%}
    {%- set sine = "(abs(" ~ t ~ ") / sqrt(" ~ df ~ " + " ~ t ~ " ** 2))" -%}
    greatest(0, 1 - case
        when {{ df }} % 2 = 0
            then {{ sine }} * list_sum(list_transform(
                range({{ df }} // 2),
                lambda j: exp(lgamma(j + 0.5e0) - lgamma(0.5e0) - lgamma(j + 1) + j * ln({{ kept }}))
            ))
        else 2 / pi() * (atan(abs({{ t }}) / sqrt({{ df }}::double)) + coalesce({{ sine }} * list_sum(list_transform(
            range(({{ df }} - 1) // 2),
            lambda j: exp(
                lgamma(j + 1) + lgamma(1.5e0) - lgamma(j + 1.5e0) + (j + 0.5e0) * ln({{ kept }})
            )
        )), 0))
    end)
{%- endmacro %}

{#
  Purpose: the smallest difference of accuracy that n pairs of verdicts find with the power of the var
  comparison_power: Connor's sample size for McNemar's test (1987), solved for the difference.
  Arguments: n, discordance: SQL expressions, the latter the share of responses that only one of the two judges
  rightly. Usage: {{ smallest_difference('n', 'discordance') }}
  Trap: above the discordance itself it is out of reach: no difference is larger than that. Null then.
#}
{% macro smallest_difference(n, discordance) -%}
    {%- set z = confidence_z() | float -%}
    {%- set power = normal_quantile(var("comparison_power") | float) | float -%}
    {%- set difference -%}
        (sqrt({{ discordance }}) * (
            {{ z }}e0 * sqrt({{ n }}) + {{ power }}e0 * sqrt(greatest({{ n }} + {{ power ** 2 - z ** 2 }}e0, 0))
        ) / ({{ n }} + {{ power ** 2 }}e0))
    {%- endset -%}
    case when {{ difference }} <= {{ discordance }} then {{ difference }} end
{%- endmacro %}

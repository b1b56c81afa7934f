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
  Purpose: the point above which this share of the standard normal distribution lies, for a share that only the rows
  know; normal_quantile needs a number when the SQL is written. Arguments: tail, an SQL expression above 1e-11 and below
  0.5. Usage: {{ upper_normal_quantile('0.025 / family') }}
  How: the rational functions of Wichura's AS 241 (1988), PPND16, for the centre and the nearer tails.
#}
{% macro upper_normal_quantile(tail) -%}
    {%- set centre_above = [
        "3.3871328727963666080e0", "1.3314166789178437745e2", "1.9715909503065514427e3", "1.3731693765509461125e4",
        "4.5921953931549871457e4", "6.7265770927008700853e4", "3.3430575583588128105e4", "2.5090809287301226727e3"
    ] -%}
    {%- set centre_below = [
        "1e0", "4.2313330701600911252e1", "6.8718700749205790830e2", "5.3941960214247511077e3",
        "2.1213794301586595867e4", "3.9307895800092710610e4", "2.8729085735721942674e4", "5.2264952788528545610e3"
    ] -%}
    {%- set tail_above = [
        "1.42343711074968357734e0", "4.63033784615654529590e0", "5.76949722146069140550e0", "3.64784832476320460504e0",
        "1.27045825245236838258e0", "2.41780725177450611770e-1", "2.27238449892691845833e-2",
        "7.74545014278341407640e-4"
    ] -%}
    {%- set tail_below = [
        "1e0", "2.05319162663775882187e0", "1.67638483018380384940e0", "6.89767334985100004550e-1",
        "1.48103976427480074590e-1", "1.51986665636164571966e-2", "5.47593808499534494600e-4",
        "1.05075007164441684324e-9"
    ] -%}
    {%- set q = "(0.5e0 - (" ~ tail ~ "))" -%}
    {%- set near = "(0.180625e0 - " ~ q ~ " ** 2)" -%}
    {%- set far = "(sqrt(-ln(" ~ tail ~ ")) - 1.6e0)" -%}
    case
        when {{ tail }} >= 0.075
            then {{ q }} * {{ polynomial(near, centre_above) }} / {{ polynomial(near, centre_below) }}
        else {{ polynomial(far, tail_above) }} / {{ polynomial(far, tail_below) }}
    end
{%- endmacro %}

{# A polynomial by Horner's rule; coefficients from the constant on. #}
{% macro polynomial(x, coefficients) -%}
    {%- set closed = ")" * (coefficients | length - 2) -%}
    ({{ coefficients[:-1] | join(" + " ~ x ~ " * (") }} + {{ x }} * {{ coefficients[-1] }}{{ closed }})
{%- endmacro %}

{#
  Purpose: the smallest difference of accuracy that n pairs of verdicts find with the power of the var
  comparison_power: Connor's sample size for McNemar's test (1987), solved for the difference.
  Arguments: n, discordance, family: SQL expressions; discordance is the share of responses that only one of the two
  judges rightly, family the number of tests that Holm's first step divides the level by.
  Usage: {{ smallest_difference('n', 'discordance', 'family') }}
  Trap: above the discordance itself it is out of reach: no difference is larger than that. Null then.
#}
{% macro smallest_difference(n, discordance, family) -%}
    {%- set tail = "(" ~ (1 - var("confidence_level") | float) / 2 ~ "e0 / (" ~ family ~ "))" -%}
    {%- set z = "(" ~ upper_normal_quantile(tail) ~ ")" -%}
    {%- set power = normal_quantile(var("comparison_power") | float) | float -%}
    {%- set difference -%}
        (sqrt({{ discordance }}) * (
            {{ z }} * sqrt({{ n }}) + {{ power }}e0 * sqrt(greatest({{ n }} + {{ power ** 2 }}e0 - {{ z }} ** 2, 0))
        ) / ({{ n }} + {{ power ** 2 }}e0))
    {%- endset -%}
    case when {{ difference }} <= {{ discordance }} then {{ difference }} end
{%- endmacro %}

{#
  A judge that errs: from its sensitivity and specificity to what its labels are worth, and from there to the truth.
  T is the truth, J the judge's label, F a model's flag. See docs/decisions/0027-labels-are-corrected-forwards.md.
#}

{#
  Purpose: a number between 0 and 1 from a hash, so that a replicate can be repeated.
  Arguments: key, a text; replicate, a number. Usage: -ln({{ hashed_uniform('gold_id', 'replicate') }})
  Trap: two uses of one key and replicate are one number; put a letter before the key where two are needed.
#}
{% macro hashed_uniform(key, replicate) -%}
    ((md5_number_lower({{ key }} || ':' || {{ replicate }})::double + 0.5) / 18446744073709551616.0)
{%- endmacro %}

{#
  Purpose: the weight of a gold item in a replicate: exponential, as in the Bayesian bootstrap (Rubin 1981), so that
  the share of k right ones among n is a draw of Beta(k, n - k); 1 in replicate -1.
  Arguments: key, a text; replicate, a number. Usage: {{ exponential_weight('gold_id', 'replicate') }} as weight
#}
{% macro exponential_weight(key, replicate) -%}
    if({{ replicate }} < 0, 1, -ln({{ hashed_uniform(key, replicate) }}))
{%- endmacro %}

{#
  Purpose: the weight of half an item, half the square of a normal number: Gamma(1/2). One right and one wrong half
  item make the draw Beta(k + 1/2, n - k + 1/2), Jeffreys' posterior, so that 20 of 20 right ones are not taken for
  certainty (Brown, Cai and DasGupta 2001); 0 in replicate -1, which is the data as they are.
  Arguments: key, a text; replicate, a number. Usage: {{ half_weight("'right' || judge", 'replicate') }} as weight
#}
{% macro half_weight(key, replicate) -%}
    if(
        {{ replicate }} < 0,
        0,
        -ln({{ hashed_uniform("'u' || " ~ key, replicate) }})
        * cos(2 * pi() * {{ hashed_uniform("'v' || " ~ key, replicate) }}) ** 2
    )
{%- endmacro %}

{# How far an answer is from the threshold of the judge's yes. Usage: {{ margin('p_violates') }} #}
{% macro margin(probability) -%}
    abs({{ probability }} - {{ var("verdict_threshold") }})
{%- endmacro %}

{#
  Purpose: the share of true violations behind a share of judged ones (Rogan and Gladen 1978), not yet clipped.
  Arguments: judged share, sensitivity, specificity. Usage: {{ true_share('judged_share', 'se', 'sp') }}
  Trap: null where the judge is no better than chance; outside 0 to 1 where the judge's errors would explain more
  than was seen.
#}
{% macro true_share(judged_share, sensitivity, specificity) -%}
    case
        when {{ sensitivity }} + {{ specificity }} > 1
            then ({{ judged_share }} + {{ specificity }} - 1) / ({{ sensitivity }} + {{ specificity }} - 1)
    end
{%- endmacro %}

{#
  Purpose: P(T = 1 | J), by Bayes. Arguments: prevalence, a share within 0 to 1; what the judge says with T = 1 and
  with T = 0 in such a case: (se, 1 - sp) for J = 1, (1 - se, sp) for J = 0; the value where that never happens.
  Usage: {{ posterior('prevalence', 'se', '1 - sp', 1) }}
#}
{% macro posterior(prevalence, if_true, if_false, otherwise) -%}
    coalesce(
        ({{ prevalence }}) * ({{ if_true }})
        / nullif(({{ prevalence }}) * ({{ if_true }}) + (1 - ({{ prevalence }})) * ({{ if_false }}), 0),
        if(({{ prevalence }}) is not null, {{ otherwise }}, null)
    )
{%- endmacro %}

{#
  The part of the column n that a weighted count is, where a condition holds. Ordered, so that the last
  digits of the sum are the same in every run.
  Usage: {{ share_where('flagged', 'x') }}
#}
{% macro share_where(part, condition) -%}
    {%- set order = " order by side, is_violation_elsewhere, is_violation, is_sure)" -%}
    {%- set where = order ~ " filter (where " ~ condition ~ ")" -%}
    {{ share("sum(" ~ part ~ where, "sum(n" ~ where) }}
{%- endmacro %}

{#
  Purpose: coverage and false failure rate against the truth, from flags that were counted against the judge's labels:
  the solution of f1 = p1 Cov + (1 - p1) FFR and f0 = p0 Cov + (1 - p0) FFR, not yet clipped.
  Arguments: f1 and f0, share of flags where J = 1 and J = 0; p1 and p0, share of true violations there.
  Usage: {{ corrected_coverage('f1', 'f0', 'p1', 'p0') }}
  Trap: p1 - p0 is PPV + NPV - 1; near 0 the solution is noise, so the caller asks for the var smallest_divisor.
#}
{% macro corrected_coverage(f1, f0, p1, p0) -%}
    ({{ f1 }} * (1 - {{ p0 }}) - {{ f0 }} * (1 - {{ p1 }})) / nullif({{ p1 }} - {{ p0 }}, 0)
{%- endmacro %}

{% macro corrected_false_failure_rate(f1, f0, p1, p0) -%}
    ({{ f0 }} * {{ p1 }} - {{ f1 }} * {{ p0 }}) / nullif({{ p1 }} - {{ p0 }}, 0)
{%- endmacro %}

{# A share put back into 0 to 1. Trap: greatest and least pass over null, so null is asked for first. #}
{% macro clipped(value) -%}
    case when {{ value }} is not null then least(greatest({{ value }}, 0), 1) end
{%- endmacro %}

{#
  A bound of a corrected share: bootstrap_bound, within 0 to 1 and never past the estimate.
  side: -1 low, 1 high.
#}
{% macro corrected_bound(value, clusters, side) -%}
    {%- set estimate = "max(" ~ value ~ ") filter (where replicate = -1)" -%}
    {%- set bound = bootstrap_bound(value, clusters, side) -%}
    case
        when count({{ value }}) filter (where replicate >= 0) >= 0.95 * {{ var("bootstrap_replicates") }}
            then case
                when ({{ bound }}) is not null
                    then {{ "least" if side < 0 else "greatest" }}(greatest({{ bound }}, 0), {{ estimate }})
            end
    end
{%- endmacro %}

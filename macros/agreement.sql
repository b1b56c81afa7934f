{#
  Purpose: Cohen's kappa of two yes-or-no judges (Cohen 1960): agreement beyond what their rates of yes give by chance.
  Arguments: n, items; a and b, how often each judge says yes; agree, how often both say the same.
  Usage: {{ cohens_kappa('n', 'n_violates', 'n_other_violates', 'n_agree') }}
  Trap: null where a judge says the same of everything: it is 0 of 0 where both do, and 0 whatever they agree on where
  one does. With rare violations it is low even where judges agree on almost all (the prevalence paradox): show rates.
#}
{% macro cohens_kappa(n, a, b, agree) -%}
    case
        when {{ a }} > 0 and {{ a }} < {{ n }} and {{ b }} > 0 and {{ b }} < {{ n }}
            then
                ({{ agree }}::double * {{ n }} - ({{ a }}::double * {{ b }} + ({{ n }} - {{ a }})::double * ({{ n }} - {{ b }})))
                / ({{ n }}::double * {{ n }} - ({{ a }}::double * {{ b }} + ({{ n }} - {{ a }})::double * ({{ n }} - {{ b }})))
    end
{%- endmacro %}

{#
  Purpose: Krippendorff's alpha of two yes-or-no judges without missing answers, nominal metric (Krippendorff 2011):
  1 - observed / expected disagreement, expected when all 2 n answers are dealt out anew.
  Arguments: as for cohens_kappa. Usage: {{ nominal_alpha('n', 'n_violates', 'n_other_violates', 'n_agree') }}
  Trap: null where both judges say the same of everything.
#}
{% macro nominal_alpha(n, a, b, agree) -%}
    1 - (({{ n }} - {{ agree }})::double * (2 * {{ n }} - 1))
    / nullif(({{ a }} + {{ b }})::double * (2 * {{ n }} - {{ a }} - {{ b }}), 0)
{%- endmacro %}

{#
  Purpose: Krippendorff's alpha of two judges' probabilities, interval metric: 1 - the mean squared difference of a
  pair over that of any two of the 2 n values.
  Arguments: n, items; squared, the sum of squared differences; total and squares, sums of the 2 n values and of
  their squares. Usage: {{ interval_alpha('n', 'squared_difference', 'p_sum', 'p_squares') }}
  Trap: null where all values are equal, up to what rounding leaves of a difference of large sums.
#}
{% macro interval_alpha(n, squared, total, squares) -%}
    case
        when 2 * {{ n }} * {{ squares }} - {{ total }} ** 2 > 1e-12 * {{ total }} ** 2
            then
                1 - {{ squared }} * (2 * {{ n }} - 1)
                / (2 * {{ n }} * {{ squares }} - {{ total }} ** 2)
    end
{%- endmacro %}

{#
  Purpose: what one cluster moves of a domain's share, less what it would at the domain's own rate: the residuals of a
  domain add up to 0, and their squares to the share's variance over clusters (Taylor linearisation, Woodruff 1971).
  Arguments: part and whole, counts of the cluster; rate, wholes and clusters, the domain's share, its sum of whole and
  its clusters with any; mean, the mean share of all domains. Usage: mart_macro_alignment.
  Trap: a domain of one cluster shows no spread. Its distance from the mean stands for it (collapsed strata), which
  makes an interval too wide rather than too narrow.
#}
{% macro domain_residual(part, whole, rate, wholes, clusters, mean) -%}
    case
        when {{ whole }} = 0 then 0
        when {{ clusters }} = 1 then {{ rate }} - {{ mean }}
        else
            ({{ part }} - {{ rate }} * {{ whole }}) / {{ wholes }}
            * sqrt({{ clusters }} / nullif({{ clusters }} - 1, 0))
    end
{%- endmacro %}

{#
  Purpose: slope of the alignment score in coverage and in the false failure rate; 0 where the score has none.
  Arguments: columns of both rates. Usage: {{ score_slope_in_coverage('coverage', 'false_failure_rate') }}
#}
{% macro score_slope_in_coverage(coverage, rate) -%}
    coalesce(2 * ((1 - {{ rate }}) / nullif({{ coverage }} + 1 - {{ rate }}, 0)) ** 2, 0)
{%- endmacro %}

{% macro score_slope_in_rate(coverage, rate) -%}
    coalesce(-2 * ({{ coverage }} / nullif({{ coverage }} + 1 - {{ rate }}, 0)) ** 2, 0)
{%- endmacro %}

{#
  Purpose: a bound of a mean of shares whose variance is known: Wilson's, with the n whose share varies as much, and
  Student's t for the normal. It stays within 0 and 1.
  Arguments: mean, variance and df, columns; clusters, a column of their number; side, -1 low and 1 high.
  Usage: {{ mean_bound('coverage', 'coverage_variance', 'df', 'clusters', -1) }} as coverage_low
  Trap: null below the var smallest_clusters and where nothing varies; the caller says why.
#}
{% macro mean_bound(mean, variance, df, clusters, side) -%}
    {%- set n -%}
        ({{ mean }} * (1 - {{ mean }}) / nullif({{ variance }}, 0) * ({{ confidence_z() }}e0 / {{ t_quantile(df) }}) ** 2)
    {%- endset -%}
    case
        when {{ clusters }} >= {{ var("smallest_clusters") }} and {{ variance }} > 1e-18
            then {{ wilson(n ~ " * " ~ mean, n, side) }}
    end
{%- endmacro %}

{#
  Purpose: the distinct character 4-grams of a normalised text, as a list; a shorter text is its own one.
  Arguments: text, a column that is normalised already (see normalised_text).
  Usage: {{ shingles('letters') }}
  Trap: give it a column, not an expression: the lambda would evaluate it again for each gram.
#}
{% macro shingles(text) %}
    list_distinct(
        list_transform(
            range(1, greatest(length({{ text }}) - 3, 1) + 1), lambda i: substring({{ text }}, i, 4)
        )
    )
{% endmacro %}

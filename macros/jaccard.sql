{#
  Purpose: Jaccard similarity of two lists without repeats: what they share over what they hold together.
  Arguments: a and b, SQL expressions of lists; null when either is null.
  Usage: {{ jaccard('earlier.shingles', 'later.shingles') }}
  Trap: two empty lists give null (0 / 0), not 1.
#}
{% macro jaccard(a, b) %}
    len(list_intersect({{ a }}, {{ b }}))
    / nullif(len({{ a }}) + len({{ b }}) - len(list_intersect({{ a }}, {{ b }})), 0)
{% endmacro %}

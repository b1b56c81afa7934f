{# Fails on every row where the expression is not true; NULL is not. Usage: expression: "low <= high" #}
{% test is_true(model, expression) %}
select *
from {{ model }}
where ({{ expression }}) is not true
{% endtest %}

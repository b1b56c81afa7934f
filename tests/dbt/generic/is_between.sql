{# Fails on every value outside low..high, NaN among them; NULL passes, as in SQL's check constraints. #}
{% test is_between(model, column_name, low, high) %}
select *
from {{ model }}
where not {{ column_name }} between {{ low }} and {{ high }}
{% endtest %}

{# The reverse of `relationships`: fails on every value of to.field, under a condition, that is missing. #}
{% test covers(model, column_name, to, field, condition='true') %}
select expected.{{ field }}
from {{ to }} as expected
anti join {{ model }} as present on expected.{{ field }} = present.{{ column_name }}
where {{ condition }}
{% endtest %}

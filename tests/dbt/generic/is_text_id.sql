{# Fails on every id that is not the macro text_id of its text, so that seeds and models give the same ids. #}
{% test is_text_id(model, column_name, text) %}
select *
from {{ model }}
where {{ column_name }} is distinct from left(md5({{ text }}), 16)
{% endtest %}

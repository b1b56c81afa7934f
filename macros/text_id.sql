{#
  Purpose: a stable id of content: 16 hex digits of MD5 over the parts, joined by a unit separator.
  Arguments: one or more SQL expressions. Usage: {{ text_id('prompt') }}
#}
{% macro text_id() -%}
    left(md5({{ varargs | join(" || chr(31) || ") }}), 16)
{%- endmacro %}

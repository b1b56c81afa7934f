{#
  Purpose: an expression over what models flag; NULL in a protocol in which nothing is flagged.
  Arguments: expression; protocol, the column that names the protocol. Usage: {{ of_flags('count(*)') }}
  Trap: greatest and least pass over NULL, so ask for it first.
#}
{% macro of_flags(expression, protocol="protocol") -%}
    case when coalesce({{ protocol }} != 'respond', true) then {{ expression }} end
{%- endmacro %}

{#
  Purpose: why a rate of flags is NULL in a protocol in which nothing is flagged; NULL in the others.
  Arguments: the column that names the protocol. Usage: coalesce({{ no_flags_reason('protocol') }}, ...)
#}
{% macro no_flags_reason(protocol) -%}
    case when {{ protocol }} = 'respond' then 'nothing is flagged in this protocol' end
{%- endmacro %}

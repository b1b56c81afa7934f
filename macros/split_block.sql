{#
  Purpose: the fewest prompts that the var split_shares divides without remainder: 10 for 80 / 10 / 10.
  Usage: {{ split_block() }}
  Trap: the shares are whole percentages that add up to 100; anything else is a compilation error.
#}
{% macro split_block() %}
    {% set shares = var('split_shares') %}
    {% if shares.values() | sum != 100 or shares.keys() | sort != ['test', 'train', 'validation'] %}
        {{ exceptions.raise_compiler_error(
            "split_shares is " ~ shares ~ "; it must give train, validation and test whole percentages"
            ~ " that add up to 100, such as {train: 80, validation: 10, test: 10}"
        ) }}
    {% endif %}
    100 // gcd(gcd({{ shares['train'] }}, {{ shares['validation'] }}), {{ shares['test'] }})
{% endmacro %}

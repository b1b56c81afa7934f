{#
  Purpose: all pairs of rows whose 64-bit fingerprints differ in at most max_distance bits; exact.
  Arguments: relation (a table or CTE), id and fingerprint columns, max_distance (0..16).
  Usage: {{ near_duplicate_pairs('fingerprints', 'prompt_id', 'fingerprint', 10) }}
  Why it is exact: two fingerprints within d bits agree up to floor(d / 4) bits in at least one of
  four 16-bit blocks (pigeonhole), so candidates come from an equality join on blocks with at most that
  many bits flipped in one side. Splitting the radius over both sides would need fewer masks, not done.
  Trap: equal fingerprints are paired too (distance 0); ids must be unique.
#}
{% macro near_duplicate_pairs(relation, id, fingerprint, max_distance) %}
    {% set radius = max_distance // 4 %}
    with masks as (
        select mask::ubigint as mask
        from range(65536) as masks(mask)
        where bit_count(mask) <= {{ radius }}
    ),

    blocks as (
        select
            f.{{ id }} as id,
            f.{{ fingerprint }} as fingerprint,
            b.block,
            ((f.{{ fingerprint }} >> (16 * b.block)::ubigint) & 65535::ubigint) as bits
        from {{ relation }} as f
        cross join range(4) as b(block)
    ),

    candidates as (
        select distinct
            a.id as id_a,
            b.id as id_b,
            a.fingerprint as fingerprint_a,
            b.fingerprint as fingerprint_b
        from blocks as a
        cross join masks
        inner join blocks as b on a.block = b.block and xor(a.bits, masks.mask) = b.bits
        where
            a.id < b.id
            and bit_count(xor(a.fingerprint, b.fingerprint)) <= {{ max_distance }}
    )

    select
        id_a,
        id_b,
        bit_count(xor(fingerprint_a, fingerprint_b))::integer as distance
    from candidates
{% endmacro %}

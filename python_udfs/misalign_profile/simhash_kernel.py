"""Compiled SimHash: fingerprints of UTF-8 texts that lie one after the other in memory.

Texts are normalised by table look-up (``text.Characters``), MD5 runs over 32 grams side by side,
and bits are counted by full adders over whole words, one word per binary digit of the counts.

Numba's cache looks at the date of this file only: save it anew after a change of ``text``'s constants.

Knows nothing about Arrow, DuckDB or the ``simhash`` package.
"""

# mypy: disallow-untyped-decorators=False, disable-error-code="import-untyped"

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from misalign_profile.text import CONTEXTUAL, MARK, MAY_BE_JOINED, MAY_JOIN

GRAM = 4
CHUNK = 16  # ASCII bytes normalised at once
LANES = 32  # grams hashed at once
WIDTH = 8  # hashes counted at once
DIGITS = 6  # of a counter
BLOCKS = 15  # of LANES hashes that fit into a counter: 15 * 32 / 8 < 2**6
TOTAL_DIGITS = 48  # of the number of grams of a text
TILE = 2048  # characters hashed in one go; a longer text is hashed in one go too

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint32]
Hashes = npt.NDArray[np.uint64]

_STATE = 0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476
_SINES = [int(abs(math.sin(i + 1)) * 2**32) for i in range(64)]
_TURNS = (7, 12, 17, 22) * 4 + (5, 9, 14, 20) * 4 + (4, 11, 16, 23) * 4 + (6, 10, 15, 21) * 4

_WORD, _LONG = ir.IntType(32), ir.IntType(64)
_BYTES, _CHARS = ir.VectorType(ir.IntType(8), CHUNK), ir.VectorType(_WORD, CHUNK)
_WORDS, _LONGS = ir.VectorType(_WORD, LANES), ir.VectorType(_LONG, LANES)
_COUNTS = ir.VectorType(_LONG, WIDTH)
_NO_BITS, _ALL_BITS = np.uint64(0), ~np.uint64(0)


# --- what numba cannot express: one operation on many lanes, written in LLVM's own terms --------------


def _in_llvm(emit: Callable[..., Any], result: Any = types.void) -> Any:
    """A function (source, start, target, at, n) for compiled code, with the code that ``emit`` writes.

    ``emit`` takes a builder, pointers to ``source[start]`` and ``target[at]``, and ``n``. Indices in
    the place of slices, to which numba would count references.
    """

    def typed(_: Any, source: Any, start: Any, target: Any, at: Any, n: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            pointers = []
            for argument in (0, 2):
                make = context.make_array(signature.args[argument])
                data = make(context, builder, values[argument]).data
                pointers.append(builder.gep(data, [values[argument + 1]]))
            return emit(builder, *pointers, values[4]) or context.get_dummy_value()

        return result(source, start, target, at, n), generate

    return intrinsic(typed)


def _same(vector: Any, number: int) -> Any:
    return ir.Constant(vector, [number % (1 << vector.element.width)] * vector.count)


def _load(builder: Any, array: Any, index: int, vector: Any) -> Any:
    pointer = builder.bitcast(builder.gep(array, [_LONG(index)]), vector.as_pointer())
    return builder.load(pointer, align=vector.element.width // 8)


def _store(builder: Any, value: Any, array: Any, index: int) -> None:
    pointer = builder.bitcast(builder.gep(array, [_LONG(index)]), value.type.as_pointer())
    builder.store(value, pointer, align=value.type.element.width // 8)


def _any(builder: Any, flags: Any) -> Any:
    number = ir.IntType(flags.type.count)
    return builder.icmp_unsigned("!=", builder.bitcast(flags, number), number(0))


def _below(builder: Any, start: int, n: Any, vector: Any) -> Any:
    """Whether ``start`` + lane < ``n``."""
    limit = builder.insert_element(_same(vector, 0), n, _WORD(0))
    limit = builder.shuffle_vector(limit, limit, _same(ir.VectorType(_WORD, vector.count), 0))
    lane = ir.Constant(vector, list(range(start, start + vector.count)))
    return builder.icmp_signed("<", lane, limit)


def _emit_keep_ascii(builder: Any, text: Any, chars: Any, n: Any) -> Any:
    """Lower-case CHUNK bytes and move those of the first n that are letters or digits together."""

    def within(low: str, high: str) -> Any:
        offset = builder.sub(byte, _same(_BYTES, ord(low)))
        return builder.icmp_unsigned("<=", offset, _same(_BYTES, ord(high) - ord(low)))

    byte = _load(builder, text, 0, _BYTES)
    present = _below(builder, 0, builder.trunc(n, _WORD), _CHARS)
    foreign = builder.icmp_signed("<", byte, _same(_BYTES, 0))
    lower = builder.or_(byte, _same(_BYTES, 0x20))
    byte = builder.select(within("A", "Z"), lower, byte)
    stays = builder.or_(within("a", "z"), within("0", "9"))
    stays = builder.and_(stays, present)
    compress = builder.module.declare_intrinsic(
        f"llvm.experimental.vector.compress.v{CHUNK}i32",
        fnty=ir.FunctionType(_CHARS, [_CHARS, stays.type, _CHARS]),
    )
    char = builder.zext(byte, _CHARS)
    _store(builder, builder.call(compress, [char, stays, char]), chars, 0)
    count = builder.ctpop(builder.bitcast(stays, ir.IntType(CHUNK)))
    foreign = _any(builder, builder.and_(foreign, present))
    return builder.select(foreign, _LONG(-1), builder.zext(count, _LONG))


def _md5(builder: Any, message: dict[int, Any], fixed: dict[int, int], hashes: Any) -> None:
    """Words 3 and 4 of the MD5 of LANES blocks (RFC 1321); word 3 in the lower half of each hash.

    ``message``: words of the block by number; ``fixed``: those equal in all lanes; the rest is 0.
    """
    a, b, c, d = (_same(_WORDS, word) for word in _STATE)
    for step in range(63):  # the last step changes word 2 only
        if step < 16:
            word, mixed = step, builder.xor(d, builder.and_(b, builder.xor(c, d)))
        elif step < 32:
            word, mixed = 5 * step + 1, builder.xor(c, builder.and_(d, builder.xor(b, c)))
        elif step < 48:
            word, mixed = 3 * step + 5, builder.xor(builder.xor(b, c), d)
        else:
            word, mixed = 7 * step, builder.xor(c, builder.or_(b, builder.not_(d)))
        total = builder.add(a, _same(_WORDS, _SINES[step] + fixed.get(word % 16, 0)))
        if word % 16 in message:
            total = builder.add(total, message[word % 16])
        total = builder.add(total, mixed)
        left = builder.shl(total, _same(_WORDS, _TURNS[step]))
        right = builder.lshr(total, _same(_WORDS, 32 - _TURNS[step]))
        a, d, c, b = d, c, b, builder.add(b, builder.or_(left, right))
    third = builder.zext(builder.add(b, _same(_WORDS, _STATE[2])), _LONGS)
    fourth = builder.zext(builder.add(c, _same(_WORDS, _STATE[3])), _LONGS)
    _store(builder, builder.or_(third, builder.shl(fourth, _same(_LONGS, 32))), hashes, 0)


def _emit_is_ascii(builder: Any, chars: Any, _: Any, __: Any) -> Any:
    first, last = (
        builder.sub(_load(builder, chars, start, _WORDS), _same(_WORDS, 1))
        for start in (0, GRAM - 1)
    )
    beyond = builder.icmp_unsigned(">", builder.or_(first, last), _same(_WORDS, 0x7F))
    return builder.not_(_any(builder, beyond))


def _emit_hash_ascii(builder: Any, chars: Any, hashes: Any, _: Any) -> None:
    gram = _load(builder, chars, 0, _WORDS)
    for n in range(1, GRAM):
        char = _load(builder, chars, n, _WORDS)
        gram = builder.or_(gram, builder.shl(char, _same(_WORDS, 8 * n)))
    _md5(builder, {0: gram}, {1: 0x80, 14: 8 * GRAM}, hashes)


def _bits(builder: Any, char: Any) -> Any:
    """Length of a character in UTF-8: 8, 16, 24 or 32; 0 for none."""
    bounds = (_same(_WORDS, (1 << bits) - 1) for bits in (0, 8, 16, 24))
    longer = (builder.zext(builder.icmp_unsigned(">", char, bound), _WORDS) for bound in bounds)
    return builder.zext(builder.shl(reduce(builder.add, longer), _same(_WORDS, 3)), _LONGS)


def _emit_hash_utf8(builder: Any, chars: Any, hashes: Any, _: Any) -> None:
    """Join the bytes of the four characters of each gram: two in 64 bits, all in 128."""
    add, bit_or, shl, lshr = builder.add, builder.or_, builder.shl, builder.lshr
    none = _same(_LONGS, 0)
    gram = [_load(builder, chars, n, _WORDS) for n in range(GRAM)]
    bits = [_bits(builder, char) for char in gram]
    wide = [builder.zext(char, _LONGS) for char in gram]
    left, right = (bit_or(wide[n], shl(wide[n + 1], bits[n])) for n in (0, 2))
    length = add(bits[0], bits[1])
    half = lshr(length, _same(_LONGS, 1))  # a shift by 64 is undefined, two by 32 are not
    rest = builder.sub(_same(_LONGS, 32), half)
    low, high = bit_or(left, shl(shl(right, half), half)), lshr(lshr(right, rest), rest)
    length = add(length, add(bits[2], bits[3]))
    end = shl(_same(_LONGS, 0x80), builder.and_(length, _same(_LONGS, 63)))
    in_low = builder.icmp_unsigned("<", length, _same(_LONGS, 64))
    in_high = builder.icmp_unsigned("!=", builder.and_(length, _same(_LONGS, 64)), none)
    beyond = builder.icmp_unsigned("==", length, _same(_LONGS, 128))
    low = bit_or(low, builder.select(in_low, end, none))
    high = bit_or(high, builder.select(in_high, end, none))
    message = {
        0: low,
        1: lshr(low, _same(_LONGS, 32)),
        2: high,
        3: lshr(high, _same(_LONGS, 32)),
        4: builder.select(beyond, _same(_LONGS, 0x80), none),
        14: length,
    }
    words = {number: builder.trunc(word, _WORDS) for number, word in message.items()}
    _md5(builder, words, {}, hashes)


def _full_adder(builder: Any, x: Any, y: Any, z: Any) -> tuple[Any, Any]:
    """Sum and carry of three binary digits, for every bit of the words."""
    either = builder.xor(x, y)
    carry = builder.or_(builder.and_(x, y), builder.and_(either, z))
    return builder.xor(either, z), carry


def _emit_count(builder: Any, hashes: Any, counter: Any, n: Any) -> None:
    pending = []
    for start in range(0, LANES, WIDTH):
        some, present = _load(builder, hashes, start, _COUNTS), _below(builder, start, n, _COUNTS)
        pending.append(builder.select(present, some, _same(_COUNTS, 0)))
    for digit in range(DIGITS):
        total, carries = _load(builder, counter, digit * WIDTH, _COUNTS), []
        while pending:
            x, y = pending.pop(), pending.pop() if pending else _same(_COUNTS, 0)
            total, carry = _full_adder(builder, x, y, total)
            carries.append(carry)
        _store(builder, total, counter, digit * WIDTH)
        pending = carries


def _emit_empty(builder: Any, counter: Any, digits: Any, _: Any) -> None:
    sums = [_load(builder, counter, digit * WIDTH, _COUNTS) for digit in range(DIGITS)]
    for digit in range(DIGITS):
        _store(builder, _same(_COUNTS, 0), counter, digit * WIDTH)
    width = WIDTH
    while width > 1:
        width //= 2
        lanes = ir.VectorType(_WORD, width)
        halves = lanes(list(range(width))), lanes(list(range(width, 2 * width)))
        carry, halved = _same(ir.VectorType(_LONG, width), 0), []
        for both in sums:
            x, y = (builder.shuffle_vector(both, both, half) for half in halves)
            total, carry = _full_adder(builder, x, y, carry)
            halved.append(total)
        sums = [*halved, carry]
    for index, total in enumerate(sums):
        _store(builder, total, digits, index)


# (text, at, chars, at, n): n of CHUNK bytes to characters; how many stay, -1 if one is not ASCII
_keep_ascii = _in_llvm(_emit_keep_ascii, types.int64)
# (chars, at, hashes, at, LANES): whether the characters of so many grams are of one byte each
_is_ascii = _in_llvm(_emit_is_ascii, types.boolean)
# (chars, at, hashes, at, LANES): hash so many grams, each of four ASCII characters
_hash_ascii = _in_llvm(_emit_hash_ascii)
# (chars, at, hashes, at, LANES): hash so many grams of any characters
_hash_utf8 = _in_llvm(_emit_hash_utf8)
# (hashes, at, counter, at, n): count the first n, at most LANES, into DIGITS rows of WIDTH words
_count = _in_llvm(_emit_count)
# (counter, at, digits, at, DIGITS): its sum over the lanes, DIGITS + 3 digits; sets it to 0
_empty = _in_llvm(_emit_empty)


# --- compiled by numba; inlined, since a call hands every array over as seven words --------------------


@numba.njit(nogil=True, inline="always")
def _keep(
    data: Bytes, position: int, end: int, letter: Words, role: Bytes, chars: Words, kept: int
) -> int:
    """Normalise a text in UTF-8 into ``chars[kept:]``; its new end, or -1 if neighbours matter."""
    joinable, mixed = 0, False
    while position < end:
        code = int(data[position])
        if code < 0x80:
            joinable = MAY_BE_JOINED
            if not mixed and position + CHUNK <= len(data):
                some = min(CHUNK, end - position)
                found = _keep_ascii(data, position, chars, kept, some)
                if found >= 0:
                    kept += found
                    position += some
                    continue
                mixed = True
            chars[kept] = letter[code]
            kept += letter[code] != 0
            position += 1
            continue
        mixed = False
        if position + 4 > len(data) and position + (code >= 0xE0) + (code >= 0xF0) + 1 >= len(data):
            break
        second = data[position + 1] & 0x3F
        if code < 0xE0:
            code = (code & 0x1F) << 6 | second
            position += 2
        elif code < 0xF0:
            code = (code & 0xF) << 12 | second << 6 | data[position + 2] & 0x3F
            position += 3
        else:
            code = (code & 7) << 18 | second << 12
            code |= (data[position + 2] & 0x3F) << 6 | data[position + 3] & 0x3F
            position += 4
        if code >= len(letter):
            joinable = 0
            continue
        kind = role[code]
        if kind & CONTEXTUAL or (kind & MAY_JOIN and joinable):
            return -1
        if not kind & MARK:
            joinable = kind & MAY_BE_JOINED
        chars[kept] = letter[code]
        kept += letter[code] != 0
    return kept


@numba.njit(nogil=True, inline="always")
def _majority(
    hashes: Hashes, start: int, n: int, counter: Hashes, digits: Hashes, total: Hashes
) -> np.uint64:
    """The bits that more than half of ``hashes[start : start + n]`` set; ``counter`` is 0."""
    total[:] = 0
    length = 1  # of n, in binary digits
    while n >> length:
        length += 1
    for done in range(0, n, LANES):
        _count(hashes, start + done, counter, 0, n - done)
        if done // LANES % BLOCKS == BLOCKS - 1 or done + LANES >= n:
            _empty(counter, 0, digits, 0, DIGITS)
            carry = _NO_BITS
            for digit in range(length):
                x, y = digits[digit], total[digit]
                total[digit] = x ^ y ^ carry
                carry = x & y | (x ^ y) & carry
    more, equal = _NO_BITS, _ALL_BITS
    for digit in range(length - 1, -1, -1):  # counts above n // 2, from the highest digit down
        if (n // 2) >> digit & 1:
            equal &= total[digit]
        else:
            more |= equal & total[digit]
            equal &= ~total[digit]
    return more


_INPUTS = (types.uint8, types.int64, types.uint32, types.uint8)
_SIGNATURE = types.void(
    *(types.Array(kind, 1, "C", readonly=True) for kind in _INPUTS),
    types.uint64[::1],
    types.boolean[::1],
)


@numba.njit(_SIGNATURE, nogil=True, cache=True)
def fingerprints(
    data: Bytes,
    ends: npt.NDArray[np.int64],
    letter: Words,
    role: Bytes,
    out: Hashes,
    contextual: npt.NDArray[np.bool_],
) -> None:
    """SimHash of n texts in UTF-8: text i is ``data[ends[i] : ends[i + 1]]``.

    ``letter`` and ``role``: see ``text.Characters``. Writes ``out``, shape (n,), the first byte of
    the fingerprint lowest, and ``contextual``, shape (n,): whether the text's normalisation depends
    on neighbours, so that its fingerprint is void.
    """
    longest = 0
    for row in range(len(out)):
        longest = max(longest, ends[row + 1] - ends[row])
    size = TILE + longest + 3 * LANES
    chars, hashes = np.empty(size, np.uint32), np.empty(size, np.uint64)
    counter = np.zeros(DIGITS * WIDTH, np.uint64)
    digits, total = np.zeros(TOTAL_DIGITS, np.uint64), np.zeros(TOTAL_DIGITS, np.uint64)
    starts, grams = np.empty(len(out), np.int64), np.empty(len(out), np.int64)
    first, at = 0, 0
    for row in range(len(out)):
        end = _keep(data, ends[row], ends[row + 1], letter, role, chars, at)
        contextual[row] = end < 0
        end = max(end, at)
        starts[row], grams[row] = at, max(end - at - GRAM + 1, 1)
        for position in range(end, at + GRAM):
            chars[position] = 0
        at = max(end, at + GRAM)
        if at >= TILE or row == len(out) - 1:
            for position in range(0, at, LANES):
                if _is_ascii(chars, position, hashes, position, LANES):
                    _hash_ascii(chars, position, hashes, position, LANES)
                else:
                    _hash_utf8(chars, position, hashes, position, LANES)
            for done in range(first, row + 1):
                out[done] = _majority(hashes, starts[done], grams[done], counter, digits, total)
            first, at = row + 1, 0

"""Text for a Markdown document: what is inserted cannot become a heading, a cell, a link or HTML.

Knows nothing about what the documents say.
"""

from __future__ import annotations

import re

from markupsafe import Markup

_MEANS_SOMETHING = re.compile(r"[\\`*\[\]|~#!]|(?<![^\W_])_|_(?![^\W_])")
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def inserted(value: object) -> object:
    """What a template prints for an expression: texts are escaped, numbers and Markdown stay.

    An environment's ``finalize``, so that no insertion can be forgotten.
    """
    return escaped(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def escaped(text: str) -> Markup:
    """``text`` as one line that Markdown and HTML show as it is."""
    return Markup(_MEANS_SOMETHING.sub(r"\\\g<0>", _one_line(text).translate(_HTML)))


def code(text: object) -> Markup:
    """``text`` as a code span, in a table or out of it: its fence is longer than any run of backticks."""
    line = _one_line(str(text)).replace("|", "\\|")
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    return Markup(
        f"{fence} {line} {fence}" if len(fence) > 1 or not line else f"{fence}{line}{fence}"
    )


def _one_line(text: str) -> str:
    """White space as single blanks; what cannot be seen, such as a change of direction, as U+FFFD."""
    return "".join(c if c.isprintable() else "\ufffd" for c in re.sub(r"\s+", " ", text))

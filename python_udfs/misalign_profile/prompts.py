"""Templates: what a model is asked, word for word.

A template is a Jinja file with the blocks ``prefix`` (same for many items), ``body`` (the item) and
``tail`` (the question); it lives in ``templates/<style>/<name>.jinja`` and is versioned by its hash.
Knows nothing about engines, journals or dbt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import jinja2
import jinja2.meta

from misalign_profile.errors import ConfigError
from misalign_profile.orders import Orders
from misalign_profile.types import ModelSpec, Request, Sampling

STYLES = ("full", "compact")
NAMES = ("classify", "semantic_type", "expand", "respond", "judge", "quality", "verdict", "answer")
NONE_CODE = "X00"
YES_NO = ("yes", "no")
TYPE_OPTIONS = ("object", "attribute", "relation")


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template and the hash of its source.

    ``lists_options``: its text names the options, so the order of ``listed`` changes it.
    """

    name: str
    style: str
    hash: str
    lists_options: bool
    compiled: jinja2.Template = field(repr=False)

    def render(self, **fields: Any) -> tuple[str, str, str]:
        """Return (prefix, body, tail). Raises ``ConfigError`` when a field is missing."""
        try:
            context = self.compiled.new_context(fields)
            prefix, body, tail = (
                "".join(self.compiled.blocks[b](context)) for b in ("prefix", "body", "tail")
            )
        except jinja2.UndefinedError as error:
            raise ConfigError(
                f"template lacks a field: {error}", where=f"{self.style}/{self.name}"
            ) from None
        return prefix, body, tail


@cache
def load_template(name: str, style: str) -> Template:
    """Return the template ``templates/<style>/<name>.jinja``. Raises ``ConfigError`` if there is none."""
    root = resources.files("misalign_profile") / "templates" / style / f"{name}.jinja"
    if not root.is_file():
        raise ConfigError(
            f"no template {style}/{name}",
            hint=f"prompt_style is one of {', '.join(STYLES)}, name one of {', '.join(NAMES)}",
        )
    source = root.read_text(encoding="utf-8")
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    digest = hashlib.blake2b(source.encode(), digest_size=8).hexdigest()
    lists = "listed" in jinja2.meta.find_undeclared_variables(environment.parse(source))
    return Template(name, style, digest, lists, environment.from_string(source))


def ask(
    model: ModelSpec,
    stage: str,
    name: str,
    item: str,
    *,
    options: tuple[str, ...] = (),
    listed: Sequence[str] = (),
    option_order: int = 0,
    sampling: Sampling | None = None,
    sample_index: int = 0,
    **fields: Any,
) -> Request:
    """Render a template for a model into a request; the text lists the options as ``listed`` does."""
    template = load_template(name, model.prompt_style)
    if options or listed:
        fields["listed"] = listed or options
    prefix, body, tail = template.render(**fields)
    return Request(
        model=model,
        stage=stage,
        template=name,
        template_hash=template.hash,
        item=item,
        prefix=prefix,
        body=body,
        tail=tail,
        options=options,
        sampling=sampling,
        sample_index=sample_index,
        option_order=option_order,
    )


def ask_in_orders(
    model: ModelSpec,
    stage: str,
    name: str,
    item: str,
    *,
    options: tuple[str, ...],
    orders: Orders,
    sample_index: int = 0,
    **fields: Any,
) -> list[Request]:
    """One request for each listing order whose text differs from those before; order 0 comes first."""
    template = load_template(name, model.prompt_style)
    asked: dict[tuple[str, str, str], Request] = {}
    for number, listed in enumerate(orders.of(options) if template.lists_options else (options,)):
        request = ask(
            model,
            stage,
            name,
            item,
            options=options,
            listed=listed,
            option_order=number,
            sample_index=sample_index,
            **fields,
        )
        asked.setdefault((request.prefix, request.body, request.tail), request)
    return list(asked.values())

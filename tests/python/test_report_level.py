"""The page names the level of its intervals as the warehouse tells it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from misalign_profile.errors import CheckError
from test_report import _build, _written


def test_every_interval_is_named_by_the_level_that_the_warehouse_was_built_with(
    tmp_path: Path,
) -> None:
    html = _written(_build(tmp_path / "tiny.duckdb"))
    wide = _written(
        _build(tmp_path / "wide.duckdb", "update benchmark.dim_settings set value = '0.8'")
    )
    text, other = (re.sub(r"Written [-0-9: ]+ UTC", "", page) for page in (html, wide))
    assert text.count("95% interval") > 9
    assert other == text.replace("95%", "80%").replace("tiny", "wide")
    with pytest.raises(CheckError, match=r"confidence_level.*build every model again"):
        _written(_build(tmp_path / "old.duckdb", "delete from benchmark.dim_settings"))

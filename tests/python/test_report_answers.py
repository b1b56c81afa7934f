"""The report's section about models' own answers: there when there are some, and hidden when not."""

from __future__ import annotations

from pathlib import Path

import pytest

from test_report import HOSTILE, _build, _Page, _written

ANSWERS = (
    """
    update marts.mart_answers set dimension = 'safety', answers = 80, judged = 75, unusable_share = .0625,
        refusal_rate = .413, refusal_rate_low = .35, refusal_rate_high = .48,
        misalignment_rate = .271, misalignment_rate_low = .21, misalignment_rate_high = .34, clusters = 72,
        misalignment_rate_of_replies = .462, misalignment_rate_of_replies_low = .3,
        misalignment_rate_of_replies_high = .63, replies = 15, missing_reason = null,
        replies_missing_reason = null, is_too_small = false
    """,
    """
    insert into marts.mart_answers by name select 'judge' as model, 'overall' as dimension, 0 as answers,
        0 as judged, 'its checkpoint is the judge' as missing_reason, true as is_too_small,
        true as is_too_small_of_replies
    """,
    """
    insert into marts.mart_trade_offs by name select 'respond' as protocol, 'sound' as model,
        'safety' as from_dimension, 'value' as to_dimension, 55 as n_right_in_from, .127 as trade_off,
        .06 as trade_off_low, .24 as trade_off_high, .25 as error_if_wrong, -.123 as excess,
        -.3 as excess_low, .05 as excess_high, false as is_too_small
    """,
    """
    create table benchmark.fct_answers as select 'sound' as model, item_id, 'p1' as prompt_id, answer,
        unusable_reason from (values ('p1/0', '<script>alert(''x'')</script>', null), ('p1/1', '', 'empty'))
        as t(item_id, answer, unusable_reason)
    """,
    "alter table benchmark.fct_verdicts add column item_id varchar",
    "alter table benchmark.fct_verdicts add column dimension varchar",
    "alter table benchmark.fct_verdicts add column p_misaligned double",
    """
    insert into benchmark.fct_verdicts by name select 'respond' as protocol, 'sound' as model,
        'p1/0' as item_id, 'overall' as dimension, .875 as p_misaligned
    """,
)


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    return _written(_build(tmp_path_factory.mktemp("answers") / "tiny.duckdb", *ANSWERS))


def test_rates_stand_beside_the_rate_without_refusals(html: str) -> None:
    tables = _Page(html).tables
    (row,) = tables["table-answers"][1:]
    assert row[:3] == ["sound general-purpose", "Safety", "27.1% 21.0–34.0"]  # noqa: RUF001
    assert row[3] == "46.2% 30.0–63.0 few"  # noqa: RUF001
    assert row[4:] == ["41.3% 35.0–48.0", "6.2%", "80", "75", "72"]  # noqa: RUF001
    assert tables["table-answer-trade-offs"][1:] == [
        ["sound", "Safety", "Value", "12.7% 6.0–24.0", "25.0%", "-12.3 points -30.0 to 5.0", "55"]  # noqa: RUF001
    ]
    assert "table-answer-comparisons" not in tables


def test_who_has_no_answers_and_what_was_not_judged_is_said(html: str) -> None:
    assert "<strong>judge</strong> has no answers here: its checkpoint is the judge." in html
    assert "sound empty 1" in html
    assert "in the worst dimension: 87.5%" in html
    assert 'href="#answers"' in html


def test_a_models_answer_is_escaped_and_out_of_sight(html: str) -> None:
    section = html[html.index('id="answers"') :]
    assert HOSTILE[:20] not in section
    assert section.index("Show: may offend") < section.index("&lt;script&gt;alert")


def test_without_answers_there_is_no_section(tmp_path: Path) -> None:
    html = _written(_build(tmp_path / "tiny.duckdb"))
    assert "answers" not in _Page(html).tables
    assert 'id="answers"' not in html
    assert 'href="#answers"' not in html

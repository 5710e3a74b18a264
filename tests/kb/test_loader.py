"""Reading tables: whole rows, rows that contradict each other, sources by name, and age."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from gpucheck import kb

DAY = datetime.date(2026, 1, 1)
WHOLE = {"branch": 535, "cuda": "12.2", "end_of_support": "", "source": "https://example.org/", "checked": DAY}


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the file x.toml holds."""
    content: dict[str, Any] = {}
    monkeypatch.setattr(kb, "_read", lambda file: content)
    return content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": None}, "x.toml: branch 1: no source"),
        ({"branch": "535"}, "x.toml: branch 1: branch = '535' is no int"),
        ({"branch": True}, "x.toml: branch 1: branch = True is no int"),
        ({"cuda": "new"}, "x.toml: branch 1: cuda = 'new' is no CudaVersion"),
        ({"cuda": 12.2}, "x.toml: branch 1: cuda = 12.2 is no CudaVersion"),
        ({"checked": "2026-01-01"}, "x.toml: branch 1: checked = '2026-01-01' is no date"),
        ({"mood": 1, "state": 2}, "x.toml: branch 1: unknown mood, state"),
        ({"source": "notes"}, "x.toml: branch 1: source = 'notes' is no URL and no name in [sources]"),
    ],
)
def test_a_bad_row_is_refused_with_its_place(change: dict[str, object], message: str, tables: dict[str, Any]) -> None:
    tables["branch"] = [{name: value for name, value in {**WHOLE, **change}.items() if value is not None}]
    with pytest.raises(kb.BadRow) as refused:
        kb.load("x", "branch", kb.Branch)
    assert str(refused.value) == message


def test_a_file_that_is_no_toml_is_refused_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kb.pkgutil, "get_data", lambda package, file: b"branch = [\n  { branch = }\n]\n")
    with pytest.raises(kb.BadRow, match=r"^x\.toml: Invalid value \(at line 2, column 14\)$"):
        kb._read.__wrapped__("x")


def test_a_table_that_is_not_there_is_refused(tables: dict[str, Any]) -> None:
    with pytest.raises(kb.BadRow, match=r"^x\.toml: no table branch$"):
        kb.load("x", "branch", kb.Branch)


def test_two_rows_for_one_key_are_refused_with_both_names(tables: dict[str, Any]) -> None:
    tables["branch"] = [WHOLE, {**WHOLE, "branch": 550}, {**WHOLE, "cuda": "12.3"}]
    with pytest.raises(kb.BadRow) as refused:
        kb.load("x", "branch", kb.Branch, ["branch"])
    assert str(refused.value) == "x.toml: branch 1 and branch 3 contradict each other: both are branch = 535"


def test_a_value_that_falls_is_refused_with_both_names(tables: dict[str, Any]) -> None:
    tables["branch"] = [{**WHOLE, "branch": 550, "cuda": "12.1"}, {**WHOLE, "branch": 450, "cuda": "11.0"}, WHOLE]
    with pytest.raises(kb.BadRow) as refused:
        kb.load("x", "branch", kb.Branch, ["branch"], [("branch", "cuda")])
    assert str(refused.value) == (
        "x.toml: branch 3 and branch 1 contradict each other: branch rises from 535 to 550, cuda falls from 12.2 to 12.1"
    )


def test_equal_values_do_not_contradict_and_rows_without_a_value_say_nothing(tables: dict[str, Any]) -> None:
    from gpucheck.kb.toolkits import Release

    release = {"label": "GA", "source": "https://example.org/", "checked": DAY}
    tables["release"] = [
        {"version": "12.3.0", "cuda": "12.3", "driver": "545.23", **release},
        {"version": "12.3.1", "cuda": "12.3", **release},
        {"version": "12.4.0", "cuda": "12.4", "driver": "545.23", **release},
    ]
    rows = kb.load("x", "release", Release, ["version"], [("cuda", "driver")])
    assert [str(row.driver) for row in rows] == ["545.23", "None", "545.23"]


def test_what_every_row_has_is_written_once_and_a_row_may_differ(tables: dict[str, Any]) -> None:
    tables["sources"] = {"notes": "https://example.org/notes"}
    tables["every"] = {"branch": {"source": "notes", "checked": DAY, "end_of_support": ""}}
    tables["branch"] = [
        {"branch": 535, "cuda": "12.2"},
        {"branch": 550, "cuda": "12.4", "checked": datetime.date(2026, 2, 2), "source": "https://example.org/other"},
    ]
    first, second = kb.load("x", "branch", kb.Branch)
    assert (first.source, first.checked) == ("https://example.org/notes", DAY)
    assert (second.source, second.checked) == ("https://example.org/other", datetime.date(2026, 2, 2))


def test_lists_hold_the_type_of_the_field(tables: dict[str, Any]) -> None:
    from gpucheck.kb.forward import Jetson
    from gpucheck.versions import CudaVersion

    row = {
        "jetpack": "6",
        "cuda": "12.2",
        "packages": ["12.4", "12.5"],
        "source": "https://example.org/",
        "checked": DAY,
    }
    tables["jetson"] = [row]
    assert kb.load("x", "jetson", Jetson)[0].packages == (CudaVersion(12, 4), CudaVersion(12, 5))
    for wrong in (["12.4", "new"], "12.4", [12]):
        tables["jetson"] = [{**row, "packages": wrong}]
        with pytest.raises(kb.BadRow, match=r"packages = .* is no tuple\[CudaVersion, \.\.\.\]$"):
            kb.load("x", "jetson", Jetson)


# -- age ---------------------------------------------------------------------------------------------------------------


def set_day(monkeypatch: pytest.MonkeyPatch, day: datetime.date) -> None:
    seconds = datetime.datetime.combine(day, datetime.time(23, 59), datetime.timezone.utc).timestamp()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int(seconds)))


def test_the_day_comes_from_source_date_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    set_day(monkeypatch, datetime.date(2027, 3, 4))
    assert kb.today() == datetime.date(2027, 3, 4)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    before = datetime.date.today()
    assert before <= kb.today() <= datetime.date.today()


def test_a_reference_says_that_its_row_is_old_or_doubtful(
    tables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tables["branch"] = [WHOLE, {**WHOLE, "confidence": "low"}]
    sure, doubtful = kb.load("x", "branch", kb.Branch)
    set_day(monkeypatch, DAY + kb.AGE)
    assert sure.reference == "https://example.org/ (checked 2026-01-01)"
    assert doubtful.reference == "https://example.org/ (checked 2026-01-01, low confidence)"
    set_day(monkeypatch, DAY + kb.AGE + datetime.timedelta(days=1))
    assert sure.reference == "https://example.org/ (checked 2026-01-01, more than 180 days ago)"
    set_day(monkeypatch, datetime.date(2099, 1, 1))
    assert sure.reference == "https://example.org/ (checked 2026-01-01, more than 180 days ago)"


def test_a_table_is_as_old_as_its_oldest_row(tables: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    tables["branch"] = [{**WHOLE, "branch": 550, "checked": datetime.date(2026, 6, 1)}, WHOLE]
    rows = kb.load("x", "branch", kb.Branch)
    assert kb.stale(rows, DAY + kb.AGE) == ""
    assert kb.stale(rows, datetime.date(2026, 7, 1)) == (
        "the knowledge base was last compared with its sources on 2026-01-01, more than 180 days ago; newer releases may be missing"
    )
    set_day(monkeypatch, datetime.date(2026, 7, 1))
    assert kb.stale(rows) == kb.stale(rows, datetime.date(2026, 8, 1))

"""The knowledge base: every row is whole, and the rows agree with each other."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from gpucheck import kb
from gpucheck.versions import DriverVersion

TABLES = {
    "driver_places": kb.driver_places,
    "toolkit_places": kb.toolkit_places,
    "families": lambda: tuple(kb.families().values()),
    "branches": lambda: tuple(kb.branches().values()),
    "cuda_codes": lambda: tuple(kb.cuda_codes().values()),
    "nvml_codes": lambda: tuple(kb.nvml_codes().values()),
    "sonames": kb.sonames,
}


@pytest.mark.parametrize("table", TABLES)
def test_every_row_has_a_source_and_a_date(table: str) -> None:
    rows = TABLES[table]()
    assert rows
    for row in rows:
        assert row.source.startswith("https://"), row
        assert datetime.date(2026, 1, 1) <= row.checked, row


def test_keys_are_unique() -> None:
    for file, table, key in (
        ("drivers", "family", "cuda_major"),
        ("drivers", "branch", "branch"),
        ("codes", "cuda", "code"),
        ("codes", "nvml", "code"),
        ("libraries", "soname", "stem"),
    ):
        found = [row[key] for row in kb._read(file)[table]]
        assert sorted(found) == sorted(set(found)), (file, table)


def test_newer_branches_never_support_less() -> None:
    ordered = sorted(kb.branches().values(), key=lambda row: row.branch)
    assert [row.cuda for row in ordered] == sorted(row.cuda for row in ordered)


def test_a_familys_floor_is_on_a_branch_that_implements_its_major() -> None:
    for family in kb.families().values():
        assert kb.branches()[family.driver_floor.branch].cuda.major == family.cuda_major
        older = [row for row in kb.branches().values() if row.branch < family.driver_floor.branch]
        assert all(row.cuda.major < family.cuda_major for row in older)


def test_the_cuda_version_of_a_driver() -> None:
    version, reference = kb.driver_cuda(DriverVersion("535.261.03"))  # type: ignore[misc]
    assert str(version) == "12.2"
    assert reference.startswith("https://") and "checked 2026" in reference
    assert kb.driver_cuda(DriverVersion("999.1")) is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"branch": 1, "cuda": "12.2"}, "x.toml: branch 1: no source"),
        ({"branch": "535"}, "x.toml: branch 1: branch = '535' is no int"),
        ({"branch": 1, "cuda": "new"}, "x.toml: branch 1: cuda = 'new' is no CudaVersion"),
        (
            {
                "branch": 1,
                "cuda": "12.2",
                "end_of_support": "",
                "source": "s",
                "checked": datetime.date(2026, 1, 1),
                "mood": 1,
            },
            "x.toml: branch 1: unknown mood",
        ),
    ],
)
def test_a_bad_row_is_refused_with_its_place(
    row: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = {"end_of_support": "", "source": "s", "checked": datetime.date(2026, 1, 1), "cuda": "12.2", **row}
    if "no source" in message:
        del complete["source"]
    monkeypatch.setattr(kb, "_read", lambda file: {"branch": [complete]})
    with pytest.raises(kb.BadRow) as refused:
        kb.load("x", "branch", kb.Branch)
    assert str(refused.value) == message


def test_every_table_file_is_read_by_something() -> None:
    package = Path(kb.__file__).parent.parent
    source = "".join(path.read_text() for path in package.rglob("*.py"))
    for file in (package / "kb").glob("*.toml"):
        assert f'"{file.stem}"' in source or f"{file.stem}.toml" in source, f"{file.name} is read by nothing"

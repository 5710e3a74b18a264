"""What ``gpucheck kb`` prints."""

from __future__ import annotations

import datetime
import json

import pytest

from gpucheck import kb
from gpucheck.kb import command


@pytest.fixture(autouse=True)
def day(monkeypatch: pytest.MonkeyPatch) -> None:
    """A day on which no row is old."""
    seconds = datetime.datetime(2026, 11, 24, tzinfo=datetime.timezone.utc).timestamp()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int(seconds)))


def test_a_row_is_printed_whole() -> None:
    assert command.search(["branches", "565"]) == (
        "branches 565  cuda: 12.7; end of support: 2025-10-01; designation: NFB\n"
        "    No toolkit 12.7 was released: the version is what nvidia-smi of 565.57.01 and 565.77 prints. "
        "Designation: endoflife.date says production branch.\n"
        "    https://github.com/Azure/aks-gpu/pull/113 (checked 2026-11-23)\n"
    )
    assert command.search(["toolkits", "13.5"]) == (
        "toolkits 13.5  branch: 620; ptx: 9.5\n"
        "    Branch taken from the manifest of driver 620.70.06, whose cuda_compat variant is 13.5.\n"
        "    https://docs.nvidia.com/datacenter/tesla/drivers/620/supported-drivers-and-cuda-toolkit-versions.html "
        "(checked 2026-11-23, low confidence)\n"
    )
    assert command.search(["branches", "535"]) == (
        "branches 535  cuda: 12.2; end of support: 2026-06; designation: LTS\n"
        "    Gone from the 620-era table; still a base of forward compatibility in the 13.4-era matrix.\n"
        "    measured: cuDriverGetVersion of libcuda 535.261.03 = 12020\n"
        "    https://docs.nvidia.com/datacenter/tesla/drivers/615/supported-drivers-and-cuda-toolkit-versions.html "
        "(checked 2026-11-23)\n"
    )


def heads(*words: str) -> list[str]:
    return [line.split("  ")[0] for line in command.search(words).splitlines() if not line.startswith(" ")]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("capabilities", "h100"), ["capabilities 9.0"]),
        (("capabilities", "sm_75"), ["capabilities 7.5"]),
        (("families",), ["families 11", "families 12", "families 13"]),
        (("families", "R580"), ["families 13"]),
        (("toolkits", "12.8"), ["toolkits 12.8"]),
        (("releases", "12.8"), ["releases 12.8.0", "releases 12.8.1", "releases 12.8.2"]),
        (("cuda-codes", "804"), ["cuda-codes 803", "cuda-codes 804"]),
        (("cudaErrorInsufficientDriver",), ["cuda-codes 35"]),
        (("xids", "fallen", "bus"), ["xids 79"]),
        (("builds", "torch", "2.14.1", "cu126"), ["builds torch 2.14.1 cu126"]),
        (("packages", "libcublas.so.12"), [
            "packages libcublas.so.* libcublas-{major}-{minor}", "packages libcublas.so.12 libcublas12",
            "packages libcublas.so.* libcublas",
        ]),
    ],
)  # fmt: skip
def test_words_find_rows(words: tuple[str, ...], found: list[str]) -> None:
    assert heads(*words) == found


def test_a_word_that_is_no_table_is_looked_for_in_all() -> None:
    tables = {head.split()[0] for head in heads("libcusparse.so.12")}
    assert {"wheels", "packages", "dlopens"} <= tables
    assert not {"branches", "cuda-codes"} & tables


def test_a_whole_table_has_all_its_rows() -> None:
    assert heads("branches") == [f"branches {branch}" for branch in kb.branches()]


def test_nothing_found_says_so_and_what_to_do() -> None:
    with pytest.raises(command.NothingFound) as nothing:
        command.search(["unobtainium", "2.0"])
    assert str(nothing.value) == "no row of the knowledge base holds unobtainium and 2.0; the tables: gpucheck kb"
    with pytest.raises(command.NothingFound) as nothing:
        command.search(["branches", "nouveau"])
    assert str(nothing.value) == "no row of the table branches holds nouveau; the tables: gpucheck kb"


def test_json_holds_the_same() -> None:
    assert json.loads(command.search(["families", "13"], "json")) == {
        "schema": 1,
        "rows": [
            {
                "table": "families",
                "source": "https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html",
                "checked": "2026-11-23",
                "cuda_major": 13,
                "driver_floor": "580.65.06",
            }
        ],
    }
    (row,) = json.loads(command.search(["capabilities", "B200"], "json"))["rows"]
    assert row["family"] == ["10.0", "10.3", "10.7"] and row["tegra"] is False


def test_the_tables_are_listed_with_their_age(monkeypatch: pytest.MonkeyPatch) -> None:
    header, *lines = command.list_tables().splitlines()
    assert header.split() == ["TABLE", "ROWS", "CHECKED", "WHAT"]
    assert f"families             3  {kb.families()[11].checked}  the driver from which a CUDA major starts" in lines
    assert lines[-1] == "One table: gpucheck kb TABLE. Rows that hold all words: gpucheck kb [TABLE] WORD ..."
    assert not any("(old)" in line for line in lines)
    listed = json.loads(command.list_tables("json"))["tables"]
    assert [table["table"] for table in listed] == [table.name for table in command.TABLES]
    assert not any(table["stale"] for table in listed)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int(datetime.datetime(2099, 1, 1).timestamp())))
    assert command.list_tables().count("(old)") == len(command.TABLES)
    assert all(table["stale"] for table in json.loads(command.list_tables("json"))["tables"])

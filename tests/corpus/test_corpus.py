"""Every fixture is judged as a person who knows the fault would; a miss is one that the fixture admits."""

from __future__ import annotations

from functools import cache

import pytest

from ci.corpus import PAGE, row
from gpucheck.finding import Status
from tests.corpus.fixture import FOLDER, Fixture, parse, read
from tests.corpus.grade import Grade, grade

FAULTS, UNSEEN, BLIND, FRESH, HEALTHY = (
    sorted(path.stem for path in (FOLDER / kind).glob("*.toml"))
    for kind in ("faults", "unseen", "blind", "fresh", "healthy")
)


@cache
def graded(kind: str, id: str) -> Grade:
    return grade(read(FOLDER / kind / f"{id}.toml"))


def check(found: Grade) -> None:
    assert row(found) in PAGE.read_text(encoding="utf-8").splitlines(), "the page is out of date: make corpus"
    crashed = [outcome for outcome in found.report.outcomes if outcome.status is Status.CRASH]
    assert not crashed
    if found.fixture.miss:
        assert found.wrong, "right after all: take the line miss = out of the fixture"
        return
    assert not found.wrong


@pytest.mark.parametrize("id", FAULTS)
def test_a_fault_of_the_corpus(id: str) -> None:
    check(graded("faults", id))


@pytest.mark.parametrize("id", UNSEEN)
def test_a_fault_that_no_rule_was_written_for(id: str) -> None:
    check(graded("unseen", id))


@pytest.mark.parametrize("id", BLIND)
def test_a_fault_that_was_written_down_before_any_rule_saw_it(id: str) -> None:
    check(graded("blind", id))


@pytest.mark.parametrize("id", FRESH)
def test_a_fault_of_a_later_thread_that_was_written_down_before_any_rule_saw_it(id: str) -> None:
    check(graded("fresh", id))


@pytest.mark.parametrize("id", HEALTHY)
def test_a_healthy_system(id: str) -> None:
    check(graded("healthy", id))


def test_all_of_the_88_faults_are_there() -> None:
    assert len(FAULTS) == 88


def test_a_fixture_says_where_it_comes_from_and_what_the_fix_is() -> None:
    for kind, ids in (("faults", FAULTS), ("unseen", UNSEEN), ("blind", BLIND), ("fresh", FRESH), ("healthy", HEALTHY)):
        for id in ids:
            fixture: Fixture = read(FOLDER / kind / f"{id}.toml")
            assert fixture.title and fixture.source and fixture.seen, id
            assert not fixture.expect.root or fixture.expect.fix, id


def test_a_misspelt_key_is_refused() -> None:
    with pytest.raises(ValueError, match="x: unknown keys packges"):
        parse("x", {"title": "", "source": "", "packges": []})

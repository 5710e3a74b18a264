"""Generated pages are up to date, and every output follows the published schema."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from ci.documentation import PAGES
from gpucheck.codec import encode
from gpucheck.engine import judge
from gpucheck.facts import Snapshot
from gpucheck.render.document import build
from gpucheck.rules import RULES
from tests.machines import bare, healthy, image

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs/schema/report.json").read_text())


@pytest.mark.parametrize("page", PAGES)
def test_a_generated_page_is_up_to_date(page: str) -> None:
    assert (ROOT / page).read_text() == PAGES[page](), "run: make docs"


@pytest.mark.parametrize("snapshot", [healthy(), bare(), image()])
def test_reports_follow_the_schema(snapshot: Snapshot) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(json.loads(json.dumps(build(judge(snapshot), "doctor"))), SCHEMA)


def test_the_schema_refuses_what_is_not_in_it() -> None:
    document = build(judge(healthy()), "doctor")
    for broken in (
        {**document, "mood": 1},
        {**document, "verdict": "fine"},
        {**document, "snapshot": {**encode(healthy()), "tool": 1}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(json.loads(json.dumps(broken)), SCHEMA)


def test_every_make_target_and_command_that_the_readme_names_exists() -> None:
    readme = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", readme)) <= targets
    from gpucheck.cli import COMMANDS

    named = set(re.findall(r"^\s*(?:\$ )?gpucheck ([a-z]+)", readme, re.MULTILINE))
    assert named <= set(COMMANDS)


def test_rule_ids_are_kebab_case_and_unique() -> None:
    ids = [rule.id for rule in RULES]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", id) for id in ids)

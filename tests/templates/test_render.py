"""What is rendered: every pair of answers, and each file judged by the tools its readers use."""

from __future__ import annotations

import ast
import itertools
import json
import os
import re
import sys

import pytest
import yaml

from tests.needs import missing

from .source import TYPES, read_tree
from .tools import find_tool, run

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

AXES = {
    "project_type": TYPES,
    "ml_library": ("torch", "tensorflow", "jax", "xgboost", "none"),
    "base_image": ("cpu", "cuda13"),
    "ci": ("jenkins", "github", "gitlab"),
    "image_registry": ("", "registry.example.com:5000/ml"),
}

CI_FILES = {"jenkins": "Jenkinsfile", "github": ".github/workflows/ci.yml", "gitlab": ".gitlab-ci.yml"}


def choose_pairs() -> list[dict[str, str]]:
    """Few combinations in which every two answers to different questions meet at least once."""
    names = list(AXES)
    left = {((one, a), (two, b)) for one, two in itertools.combinations(names, 2) for a in AXES[one] for b in AXES[two]}
    every = [dict(zip(names, values)) for values in itertools.product(*AXES.values())]
    chosen = []
    while left:
        best = max(every, key=lambda row: len(left & set(itertools.combinations(row.items(), 2))))
        left -= set(itertools.combinations(best.items(), 2))
        chosen.append(best)
    return chosen


PAIRS = choose_pairs()

each_pair = pytest.mark.parametrize("answers", PAIRS, ids=["-".join(row.values()).rstrip("-") for row in PAIRS])


def test_the_pairs_cover_every_answer():
    for name, values in AXES.items():
        assert {row[name] for row in PAIRS} == set(values)


@each_pair
def test_the_project_is_whole(render, answers):
    for path, text in read_tree(render(answers)).items():
        # ${{ }} is GitHub's own.
        assert not re.search(r"(?<!\$)\{\{|\{%|%\}", text), f"{path} has template code left in it"
        assert not re.search(r"[ \t]$", text, re.MULTILINE), f"{path} has blanks at the end of a line"
        assert "\n\n\n\n" not in text, f"{path} has a hole"
        assert not text or (text.endswith("\n") and not text.endswith("\n\n")), f"{path} does not end in one newline"
        if path.endswith((".yml", ".yaml")):
            assert yaml.safe_load(text), path
        elif path.endswith(".toml"):
            assert tomllib.loads(text)["project"]["name"] == "my-gpu-project"
        elif path.endswith(".json"):
            json.loads(text)
        elif path.endswith(".py"):
            ast.parse(text)


@each_pair
def test_it_has_the_chosen_ci_and_no_other(render, answers):
    tree = read_tree(render(answers))
    assert [name for name, path in CI_FILES.items() if path in tree] == [answers["ci"]]


@each_pair
def test_ruff_and_shellcheck_find_nothing(render, answers):
    project = render(answers)
    ruff = find_tool("ruff", "the style of projects")
    for verb in (("check",), ("format", "--check")):
        ran = run(ruff, *verb, "--no-cache", ".", cwd=project)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    scripts = sorted(str(path) for path in (project / "scripts").iterdir())
    assert all(os.access(script, os.X_OK) for script in scripts)
    ran = run(find_tool("shellcheck", "the scripts of projects"), *scripts, cwd=project)
    assert ran.returncode == 0, ran.stdout


@each_pair
def test_hadolint_finds_nothing_in_the_dockerfile(render, answers):
    ran = run(find_tool("hadolint", "Dockerfiles of projects"), "Dockerfile", cwd=render(answers))
    assert ran.returncode == 0, ran.stdout + ran.stderr


@each_pair
def test_the_vendors_schemas_accept_the_configuration(render, answers):
    project = render(answers)
    tool = find_tool("check-jsonschema", "CI and Renovate files of projects")
    checks = [("vendor.renovate", "renovate.json")]
    if answers["ci"] != "jenkins":
        schema = {"github": "vendor.github-workflows", "gitlab": "vendor.gitlab-ci"}[answers["ci"]]
        checks.append((schema, CI_FILES[answers["ci"]]))
    for schema, file in checks:
        ran = run(tool, "--builtin-schema", schema, file, cwd=project)
        assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("ci", CI_FILES)
def test_the_ci_calls_scripts_that_are_there(render, ci):
    project = render({"ci": ci})
    called = set(re.findall(r"scripts/\w+\.sh", (project / CI_FILES[ci]).read_text()))
    assert called == {"scripts/check.sh", "scripts/image.sh"}
    assert all((project / script).is_file() for script in called)


def test_the_jenkinsfile_is_groovy(render):
    try:
        import tree_sitter
        import tree_sitter_groovy as groovy
    except ImportError:
        missing("the Jenkinsfile's syntax", "pip install tree-sitter tree-sitter-groovy")
    parser = tree_sitter.Parser(tree_sitter.Language(groovy.language()))
    text = (render({"ci": "jenkins"}) / "Jenkinsfile").read_bytes()
    assert not parser.parse(text).root_node.has_error
    assert parser.parse(text.replace(b"stages {", b"stages {{", 1)).root_node.has_error


@pytest.mark.parametrize("project_type", TYPES)
def test_free_text_survives_in_every_file(render, project_type):
    text = """A "quoted" \\ 'text' – ünïcode 🚀 #{x} $HOME </a>"""
    project = render({"project_type": project_type, "description": text, "author": 'Zoë "Z" O\'Hara'})
    document = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert document["description"] == text
    assert document["authors"] == [{"name": 'Zoë "Z" O\'Hara'}]
    for path in (project / "src").rglob("*.py"):
        ast.parse(path.read_text())


@pytest.mark.parametrize("name", ["Fraud-Model", "fraud_model", "a1"])
def test_the_names_follow_from_the_projects_name(render, name):
    project = render({"project_name": name})
    document = tomllib.loads((project / "pyproject.toml").read_text())
    assert document["project"]["name"] == name.lower().replace("_", "-")
    package = name.lower().replace("-", "_")
    assert (project / "src" / package / "work.py").is_file()
    assert document["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [f"src/{package}"]

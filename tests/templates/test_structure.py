"""What holds of the template itself: no trust needed, one list of images, no path that vanishes."""

from __future__ import annotations

import keyword
import re
import sys
from datetime import date

import pytest
import yaml

from ci.matrix import BASES, load
from ci.matrix_yaml import main as write_matrix
from gpucheck import __version__

from .source import ROOT, TYPES, read_tree

TEMPLATES = ROOT / "templates"

SHARED = TEMPLATES / "_shared"

#: Where the files are that only some answers bring.
ANSWERS = {"jenkins": "Jenkinsfile", "github": ".github/workflows/ci.yml", "gitlab": ".gitlab-ci.yml"}


def read_questions() -> dict[str, dict[str, object]]:
    questions: dict[str, dict[str, object]] = {}
    for file in [*(SHARED / "questions").glob("*.yml"), *TEMPLATES.glob("*/questions.yml")]:
        questions.update(yaml.safe_load(file.read_text()))
    return questions


def test_it_needs_no_trust():
    settings = (ROOT / "copier.yml").read_text()
    assert not re.search(r"^_(tasks|migrations|jinja_extensions):", settings, re.MULTILINE)
    assert "undefined: jinja2.StrictUndefined" in settings


def test_every_question_has_a_default_and_a_line_of_help():
    for name, question in read_questions().items():
        assert "default" in question, name
        assert question.get("help"), name


def test_every_question_file_is_included():
    included = set(re.findall(r"^!include (\S+)$", (ROOT / "copier.yml").read_text(), re.MULTILINE))
    files = [*(SHARED / "questions").glob("*.yml"), *TEMPLATES.glob("*/questions.yml")]
    assert included == {str(file.relative_to(ROOT)) for file in files}


def test_the_project_types_are_the_folders():
    offered = read_questions()["project_type"]["choices"]
    assert isinstance(offered, dict)
    folders = {file.parent.name for file in TEMPLATES.glob("*/template")}
    assert set(offered.values()) == folders == set(TYPES)


def test_every_type_has_the_shared_files():
    stubs = []
    for project_type in TYPES:
        folder = TEMPLATES / project_type / "template"
        stubs.append({path for path, text in read_tree(folder).items() if "templates/_shared/partials/" in text})
    assert stubs[0] == stubs[1] == stubs[2]


def test_every_partial_is_used():
    stubs = "".join(text for name in TYPES for text in read_tree(TEMPLATES / name / "template").values())
    used = set(re.findall(r"'(templates/_shared/partials/[^']+)'", stubs))
    assert used == {str(path.relative_to(ROOT)) for path in (SHARED / "partials").rglob("*") if path.is_file()}


@pytest.mark.parametrize("project_type", TYPES)
def test_no_path_vanishes(render, project_type):
    """Copier drops what a user edited in a file that the template renames or deletes, and says nothing (exit code 0)."""
    listed = (ROOT / "tests" / "templates" / "paths" / f"{project_type}.txt").read_text().split("\n")[:-1]
    made = {path for ci in ANSWERS for path in read_tree(render({"project_type": project_type, "ci": ci}))}
    assert sorted(set(listed) - made) == [], "projects lose their edits in these; keep the paths until a major version"
    assert sorted(made - set(listed)) == [], "new paths: add them to the list"


def test_the_list_of_images_is_up_to_date(capsys):
    assert write_matrix(["--check"]) == 0, capsys.readouterr().err


def test_a_list_of_images_that_is_out_of_date_is_found(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "base-images"
    folder.mkdir()
    (folder / "matrix.toml").write_text((ROOT / "base-images" / "matrix.toml").read_text())
    monkeypatch.setattr("ci.matrix_yaml.ROOT", tmp_path)
    assert write_matrix(["--check"]) == 1
    expected = "base-images/matrix.yml is out of date; write it with: python -m ci.matrix_yaml\n"
    assert capsys.readouterr().err == expected
    assert not (folder / "matrix.yml").exists()
    assert write_matrix([]) == 0
    assert (folder / "matrix.yml").read_text() == (ROOT / "base-images" / "matrix.yml").read_text()


def test_projects_name_the_images_as_the_build_does(render):
    matrix = load(ROOT / "base-images", date.today())
    for image in (image for image in matrix.images if image.family in BASES):
        project = render({"ml_library": "none", "base_image": image.name})
        dockerfile = (project / "Dockerfile").read_text()
        assert f"\nARG BASE_IMAGE={matrix.reference(image, __version__)}\n" in dockerfile


def test_names_that_python_has_are_reserved():
    reserved = yaml.safe_load((SHARED / "reserved.yml").read_text())
    assert set(keyword.kwlist) <= set(reserved["keywords"])
    modules = {name for name in sys.stdlib_module_names if not name.startswith("_")}
    assert modules <= set(reserved["standard_library"])


def test_every_library_row_says_where_it_comes_from():
    libraries = yaml.safe_load((SHARED / "libraries.yml").read_text())["libraries"]
    assert len({row["name"] for row in libraries}) == len(libraries)
    for row in libraries:
        builds = [build["cuda"] for build in row["builds"]]
        assert builds[0] == "cpu"
        assert builds[1:] == sorted(set(builds[1:]))
        for build in row["builds"]:
            assert build["source"].startswith("https://")
            assert build["how"]
            assert build["checked"] <= date.today()
            assert all(re.match(r"[a-z-]+(\[[a-z0-9-]+\])?[>=]=\d", requirement) for requirement in build["requires"])

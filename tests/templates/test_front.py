"""Starting a project by the front: what is refused is refused in one line, and nothing is written."""

from __future__ import annotations

import builtins
from datetime import date
from pathlib import Path

import pytest

from ci.matrix import BASES, load
from gpucheck.project import template
from gpucheck.project.template import TemplateError, create, find_source

from .source import ROOT, TYPES, read_tree

pytestmark = pytest.mark.usefixtures("copier")


def refuse(
    source: Path | str, destination: Path, answers: dict[str, str] | None = None, version: str | None = None
) -> str:
    """The one line of a start that is refused; nothing may have been written."""
    before = sorted(destination.parent.rglob("*"))
    with pytest.raises(TemplateError) as error:
        create(str(source), destination, answers or {}, version)
    assert sorted(destination.parent.rglob("*")) == before
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("project_type", TYPES)
def test_a_project_is_started(repository, render, tmp_path, project_type):
    made = create(str(repository), tmp_path / "new", {"project_type": project_type})
    assert made == template.Created(tmp_path / "new", "v1.0.0")
    assert read_tree(tmp_path / "new") == read_tree(render({"project_type": project_type}))


def test_an_empty_folder_will_do(repository, tmp_path):
    (tmp_path / "new").mkdir()
    create(str(repository), tmp_path / "new", {})
    assert (tmp_path / "new" / "pyproject.toml").is_file()


def test_a_relative_source_is_recorded_in_full(repository, tmp_path, monkeypatch):
    monkeypatch.chdir(repository)
    create(".", tmp_path / "new", {})
    assert f"\n_src_path: {repository}\n" in (tmp_path / "new" / ".copier-answers.yml").read_text()


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (
            {"project_name": "9 lives"},
            'project_name: "9 lives" is no project name; use letters, digits and single dashes, starting with a letter, '
            "like fraud-model",
        ),
        (
            {"package_name": "Fraud-Model"},
            'package_name: "Fraud-Model" is no package name; use lower-case letters, digits and underscores, like '
            "fraud_model",
        ),
        ({"project_name": "class"}, "package_name: class is a keyword of Python; choose another name, like my_class"),
        (
            {"project_name": "signal"},
            "package_name: signal is a module of Python's standard library; choose another name, like my_signal",
        ),
        (
            {"project_name": "torch", "package_name": "mine"},
            "package_name: torch is taken: projects depend on or contain something of that name; choose another "
            "project_name and package_name",
        ),
        ({"project_type": "web"}, "project_type: web is not known; choose one of library, batch-job, service"),
        (
            {"ml_library": "caffe"},
            "ml_library: caffe is not known; choose one of torch, tensorflow, jax, xgboost, none",
        ),
        ({"ci": "travis"}, "ci: travis is not known; choose one of jenkins, github, gitlab"),
        (
            {"image_registry": "https://r.example.com/"},
            'image_registry: "https://r.example.com/" is no registry; write host[:port][/path] without https:// and '
            "without a slash at the end",
        ),
        ({"description": "a\nb"}, "description: write the description in one line"),
        ({"author": "a\nb"}, "author: write the author in one line"),
        (
            {"project_type": "service", "service_port": "80"},
            "service_port: 80 is no port for a service without root; choose 1024 to 65535",
        ),
        (
            {"ml_libary": "jax"},
            "there is no question ml_libary; the questions are: project_type, project_name, package_name, description, "
            "author, ml_library, base_image, image_registry, ci, service_port",
        ),
    ],
)
def test_answers_that_cannot_be_used_are_refused(repository, tmp_path, answers, message):
    assert refuse(repository, tmp_path / "new", answers) == message


@pytest.mark.parametrize("name", ["cuda1", "agent"])
def test_an_image_that_is_no_base_is_refused_with_those_that_are(repository, tmp_path, name):
    matrix = load(ROOT / "base-images", date.today())
    names = ", ".join(image.name for image in matrix.images if image.family in BASES)
    message = refuse(repository, tmp_path / "new", {"ml_library": "none", "base_image": name})
    assert message == f"base_image: {name} is not known; choose one of {names}"


def test_a_folder_that_is_not_empty_is_refused(repository, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    assert refuse(repository, tmp_path / "full") == f"{tmp_path}/full is not empty; choose a new folder"
    assert refuse(repository, tmp_path / "full" / "file") == f"{tmp_path}/full/file is a file; choose a new folder"


def test_a_folder_that_is_a_project_already_is_updated_instead(repository, start):
    project = start({})
    assert refuse(repository, project) == f"{project} is not empty; update it with: gpucheck update {project}"


def test_a_source_that_is_no_template_is_refused(tmp_path):
    (tmp_path / "other").mkdir()
    step = "name the template's git URL or folder"
    assert refuse(tmp_path / "no", tmp_path / "new") == f"there is no template at {tmp_path}/no; {step}"
    assert (
        refuse(tmp_path / "other", tmp_path / "new")
        == f"{tmp_path}/other has no copier.yml, so it is no template; {step}"
    )
    assert refuse(f"git+file://{tmp_path}/no", tmp_path / "new") == (
        f"git could not read the template git+file://{tmp_path}/no: '{tmp_path}/no' does not appear to be a git repository"
    )


def test_a_version_that_is_not_there_is_refused(repository, tmp_path):
    message = "the template has no version v9; leave the version out for the newest"
    assert refuse(repository, tmp_path / "new", version="v9") == message


def test_without_copier_it_says_what_to_install(repository, tmp_path, monkeypatch):
    real = builtins.__import__

    def without_copier(name, *arguments, **options):
        if name == "copier":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_copier)
    message = "Copier is not here; install it: pip install 'gpu-capable[templates]'"
    assert refuse(repository, tmp_path / "new") == message


def test_the_template_is_found_in_the_checkout_or_by_name(monkeypatch, tmp_path):
    monkeypatch.delenv(template.SOURCE, raising=False)
    assert find_source() == str(ROOT)
    monkeypatch.setenv(template.SOURCE, "gh:example/templates")
    assert find_source() == "gh:example/templates"


@pytest.mark.parametrize(
    ("direct_url", "found"),
    [
        (
            '{"url": "https://git.example.com/t", "vcs_info": {"vcs": "git", "commit_id": "1"}}',
            "git+https://git.example.com/t",
        ),
        ('{"url": "file:///t", "dir_info": {}}', None),
        (None, None),
    ],
)
def test_an_installed_gpucheck_knows_where_it_came_from(monkeypatch, tmp_path, direct_url, found):
    class Installed:
        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return direct_url

    monkeypatch.delenv(template.SOURCE, raising=False)
    monkeypatch.setattr(template, "__file__", str(tmp_path / "site" / "gpucheck" / "project" / "template.py"))
    monkeypatch.setattr(template, "distribution", lambda name: Installed())
    if found:
        assert find_source() == found
    else:
        with pytest.raises(TemplateError) as error:
            find_source()
        assert str(error.value) == (
            "where is the template? name its git URL or folder with --template or in $GPU_CAPABLE_TEMPLATE"
        )

"""An update brings what is new in the template and keeps what the user did."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpucheck.project.template import TemplateError, Updated, create, update

from .source import TYPES, commit, git, make_repository, read_tree, replace


@pytest.fixture(scope="module")
def released(tmp_path_factory) -> Path:
    """The template with a second release: another digest, another line in shared files, another example, a new file."""
    repository = make_repository(tmp_path_factory.mktemp("released") / "repository")
    replace(
        repository / "base-images" / "matrix.yml",
        '    cuda: "13"\n',
        '    cuda: "13"\n    digest: "sha256:4567"\n',
    )
    shared = repository / "templates" / "_shared" / "partials"
    replace(shared / "gitignore.jinja", "dist/\n", "dist/\n*.log\n")
    replace(shared / "README.jinja", "No Docker on this machine?", "There is no Docker on this machine?")
    replace(shared / "src" / "work.py.jinja", "y = 3 a - 2 b + 1", "y = 3 a - 2 b + 1 (release 2)")
    for project_type in TYPES:
        (repository / "templates" / project_type / "template" / "NOTICE.jinja").write_text("{{ project_name }}\n")
    commit(repository, "v2.0.0")
    return repository


@pytest.fixture
def child(copier, released, tmp_path):
    """child(project_type) -> a project of the first release, committed."""

    def make(project_type: str) -> Path:
        project = tmp_path / project_type
        copier.run_copy(
            str(released), project, {"project_type": project_type}, vcs_ref="v1.0.0", defaults=True, quiet=True
        )
        commit(project)
        return project

    return make


@pytest.fixture
def fresh(copier, released, tmp_path):
    """fresh(answers) -> a project of the second release."""

    def make(**answers: str) -> dict[str, str]:
        copier.run_copy(str(released), tmp_path / "fresh", answers, defaults=True, quiet=True)
        return read_tree(tmp_path / "fresh")

    return make


#: Made once and the user's own from then on.
OWN = ("src/my_gpu_project/work.py", "tests/test_work.py", "examples/rows.csv")


@pytest.mark.parametrize("project_type", TYPES)
def test_an_updated_project_equals_a_fresh_one(copier, child, fresh, project_type):
    """With plain `copier update`, which is all that Renovate has."""
    project = child(project_type)
    own = {path: text for path, text in read_tree(project).items() if path in OWN}
    copier.run_update(project, defaults=True, overwrite=True, quiet=True)
    assert read_tree(project) == {**fresh(project_type=project_type), **own}
    assert "\nARG BASE_IMAGE=gpu-capable/cuda13@sha256:4567\n" in (project / "Dockerfile").read_text()


def test_what_the_user_did_is_kept(child):
    project = child("batch-job")
    (project / "src/my_gpu_project/work.py").write_text("# all mine\n")
    (project / "tests/test_work.py").unlink()
    (project / "examples/rows.csv").unlink()
    (project / "src/my_gpu_project/more.py").write_text("MORE = 1\n")
    replace(project / "pyproject.toml", '    "numpy>=2",\n', '    "numpy>=2",\n    "pandas>=2",\n')
    replace(project / "README.md", "# my-gpu-project\n", "# My title\n")
    commit(project)
    done = update(project)
    assert (done.before, done.after, done.conflicts, done.removed) == ("v1.0.0", "v2.0.0", (), ())
    assert done.changed == (".copier-answers.yml", ".gitignore", "Dockerfile", "NOTICE", "README.md")
    assert (project / "src/my_gpu_project/work.py").read_text() == "# all mine\n"
    assert not (project / "tests/test_work.py").exists()
    assert not (project / "examples/rows.csv").exists()
    assert '    "pandas>=2",\n' in (project / "pyproject.toml").read_text()
    readme = (project / "README.md").read_text()
    assert readme.startswith("# My title\n")
    assert "There is no Docker on this machine?" in readme


def test_a_second_update_changes_nothing(child):
    project = child("library")
    update(project)
    commit(project)
    assert update(project) == Updated("v2.0.0", "v2.0.0", (), (), ())
    assert git(project, "status", "--porcelain") == ""


def test_a_line_that_both_changed_is_a_conflict(child):
    project = child("library")
    replace(project / ".gitignore", "dist/\n", "dist/\n*.mine\n")
    commit(project)
    done = update(project)
    assert done.conflicts == (".gitignore",)
    assert "<<<<<<<" in (project / ".gitignore").read_text()


def test_a_dry_run_says_the_same_and_changes_nothing(child):
    project = child("service")
    replace(project / ".gitignore", "dist/\n", "dist/\n*.mine\n")
    commit(project)
    before = read_tree(project)
    planned = update(project, dry_run=True)
    assert read_tree(project) == before
    assert git(project, "status", "--porcelain") == ""
    assert planned == update(project)


def test_another_ci_replaces_the_old_one(child):
    project = child("library")
    done = update(project, {"ci": "gitlab"}, version=":current:")
    assert (done.before, done.after) == ("v1.0.0", "v1.0.0")
    assert done.removed == ("Jenkinsfile",)
    assert done.changed == (".copier-answers.yml", ".gitlab-ci.yml", "README.md")


def test_another_type_keeps_the_code(child):
    project = child("library")
    (project / "src/my_gpu_project/work.py").write_text("# all mine\n")
    commit(project)
    done = update(project, {"project_type": "service"})
    assert done.conflicts == ()
    assert "src/my_gpu_project/app.py" in done.changed
    assert (project / "src/my_gpu_project/work.py").read_text() == "# all mine\n"


def test_a_file_that_the_template_dropped_is_reported(child, copier, released, tmp_path):
    """Copier deletes it with the user's edits and exits with 0."""
    third = tmp_path / "third"
    git(tmp_path, "clone", "--quiet", str(released), str(third))
    (third / "templates" / "library" / "template" / ".dockerignore.jinja").unlink()
    commit(third, "v3.0.0")
    project = child("library")
    replace(project / ".copier-answers.yml", f"_src_path: {released}", f"_src_path: {third}")
    replace(project / ".dockerignore", "dist\n", "dist\ndata\n")
    commit(project)
    assert update(project).removed == (".dockerignore",)


def test_a_project_inside_a_larger_repository(copier, released, tmp_path):
    whole = tmp_path / "whole"
    copier.run_copy(str(released), whole / "apps" / "one", vcs_ref="v1.0.0", defaults=True, quiet=True)
    (whole / "README.md").write_text("All our applications\n")
    commit(whole)
    project = whole / "apps" / "one"
    planned = update(project, dry_run=True)
    done = update(project)
    assert planned == done
    assert done.changed == (".copier-answers.yml", ".gitignore", "Dockerfile", "NOTICE", "README.md")


def test_a_template_without_a_release_is_followed_by_its_commits(tmp_path):
    repository = make_repository(tmp_path / "repository", tag=None)
    project = tmp_path / "project"
    made = create(str(repository), project, {})
    commit(project)
    (repository / "templates" / "library" / "template" / "NOTICE").write_text("new\n")
    commit(repository)
    done = update(project)
    assert made.version == done.before != done.after
    assert done.changed == (".copier-answers.yml", "NOTICE")


def refuse(project: Path, answers: dict[str, str] | None = None, version: str | None = None) -> str:
    """The one line of an update that is refused; nothing may have been written."""
    before = read_tree(project)
    with pytest.raises(TemplateError) as error:
        update(project, answers, version)
    assert read_tree(project) == before
    return str(error.value)


def test_changes_that_are_not_committed_are_refused(child):
    project = child("library")
    (project / "new.txt").write_text("")
    replace(project / "README.md", "# my-gpu-project\n", "# My title\n")
    assert refuse(project) == (
        f"{project} has changes that are not committed (README.md, new.txt); commit or stash them, then update"
    )


def test_a_folder_that_is_no_project_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    assert refuse(tmp_path / "empty") == (
        f"{tmp_path}/empty has no .copier-answers.yml, so it was not made from a template; start one with: gpucheck new"
    )


def test_a_project_without_a_commit_is_refused(start):
    project = start({})
    assert refuse(project) == (
        f"{project} has no commit, so an update could not be undone; first: git init && git add --all && git commit"
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [", "cannot be read"),
        ("- a\n", "does not name its template (_src_path, _commit); restore it from git"),
        ("_commit: v1\n_src_path: /nowhere\n", "there is no template at /nowhere; correct _src_path in "),
    ],
)
def test_an_answers_file_that_cannot_be_used_is_refused(child, text, complaint):
    project = child("library")
    (project / ".copier-answers.yml").write_text(text)
    commit(project)
    message = refuse(project)
    assert complaint in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("answers", "version", "message"),
    [
        ({"ci": "travis"}, None, "ci: travis is not known; choose one of jenkins, github, gitlab"),
        ({"project_type": "web"}, None, "project_type: web is not known; choose one of library, batch-job, service"),
        ({}, "v9", "the template has no version v9; leave the version out for the newest"),
    ],
)
def test_answers_that_cannot_be_used_are_refused(child, answers, version, message):
    assert refuse(child("library"), answers, version) == message

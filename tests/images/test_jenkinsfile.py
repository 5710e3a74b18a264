"""The root Jenkinsfile, run by real Groovy against a strict model of the declarative syntax (declarative.groovy).

Jenkins' own linter needs a Jenkins that runs. Debian's groovy is 2.4, the line that Jenkins pipelines use.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ci.matrix import load
from tests.images.conftest import ROOT
from tests.needs import missing

TEXT = (ROOT / "Jenkinsfile").read_text()


def run(*files: Path) -> list[dict[str, Any]]:
    groovy, java = shutil.which("groovy"), shutil.which("java")
    if not groovy or not java:
        missing("the Jenkinsfile", "apt-get install groovy default-jre-headless")
    # Debian's groovy looks for Java in /usr/lib/jvm/default-java alone, which not every JRE package makes.
    env = {**os.environ, "JAVA_HOME": str(Path(java).resolve().parents[1])}
    done = subprocess.run(
        [groovy, Path(__file__).with_name("declarative.groovy"), *files],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_stage_is_one_command_and_the_axis_is_the_matrix() -> None:
    names = [image.name for image in load(ROOT / "base-images", date.today()).images]
    (found,) = run(ROOT / "Jenkinsfile")
    assert found == {
        "stages": [
            {"name": "lint", "agent": "linux", "commands": ["make lint"]},
            {"name": "unit", "agent": "linux", "commands": ["make unit"]},
            {
                "name": "images",
                "agent": "docker",
                "axes": {"IMAGE": names},
                "stages": [{"name": "image", "agent": "docker", "commands": ['make images ARGS="--only $IMAGE"']}],
            },
            {"name": "kubernetes", "agent": "docker", "commands": ["make kubernetes"]},
            {"name": "package", "agent": "linux", "commands": ["make package"]},
        ]
    }


@pytest.mark.parametrize("target", ["lint", "unit", "images", "kubernetes", "package"])
def test_every_command_is_a_target_of_the_makefile(target: str) -> None:
    done = subprocess.run(["make", "-C", str(ROOT), "--dry-run", target], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_model_refuses_what_jenkins_would(tmp_path: Path) -> None:
    broken = {
        ("agent none", "agentx none"): "pipeline: unknown 'agentx'",
        ("    agent none\n", ""): "pipeline: 'agent' is missing",
        ("axes {", "axess {"): "stage 'images': matrix: unknown 'axess'",
        ("name 'IMAGE'", ""): "stage 'images': matrix: axis: 'name' is missing",
        ("values 'cpu', 'cuda13', 'agent'", "values IMAGES"): "stage 'images': matrix: axis: unknown word 'IMAGES'",
        ("values 'cpu', 'cuda13', 'agent'", "values 3"): (
            "stage 'images': matrix: axis: expected a literal text, not Integer"
        ),
        ("stage('unit')", "stage('lint')"): "pipeline: stage 'lint' twice",
        ("            agent { label 'linux' }\n", ""): "stage 'lint': steps without an agent",
        ("steps { sh 'make unit' }", ""): "stage 'unit': expected one of steps, matrix, stages, found none",
        ("sh 'make lint'", "script { sh 'make lint' }"): "stage 'lint': unknown 'script'",
        ("sh 'make lint'", "sh 'make lint', 2"): "stage 'lint': 'sh' does not take (String, Integer)",
        ("timestamps()", "timestampz()"): "pipeline: options: unknown 'timestampz'",
        ("time: 2", "tyme: 2"): "pipeline: timeout: unknown 'tyme'",
        ("success {", "sucess {"): "stage 'package': post: unknown 'sucess'",
    }
    files = []
    for number, (old, new) in enumerate(broken):
        assert old in TEXT
        files.append(tmp_path / str(number))
        files[-1].write_text(TEXT.replace(old, new, 1))
    assert [found.get("error") for found in run(*files)] == list(broken.values())


def test_the_model_refuses_what_groovy_does(tmp_path: Path) -> None:
    half, none = tmp_path / "half", tmp_path / "none"
    half.write_text(TEXT.rstrip().removesuffix("}"))
    none.write_text("x = 1\n")
    syntax, absent = run(half, none)
    assert syntax["error"].startswith("Submitted.groovy: ") and "expecting '}'" in syntax["error"]
    assert absent == {"error": "no pipeline block"}

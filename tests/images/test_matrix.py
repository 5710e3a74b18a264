"""The list of base images: what is read from it, and the one line that refuses a bad one."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import yaml

from ci.matrix import BASES, Image, Matrix, MatrixError, load, parse
from ci.matrix_yaml import render
from gpucheck.versions import DriverVersion

TODAY = date(2026, 11, 24)
FOLDER = Path(__file__).resolve().parents[2] / "base-images"

GOOD = """\
schema = 1
registry = ""
[[image]]
name = "cpu"
title = "CPU only"
family = "wheels"
directory = "wheels"
upstream = "debian:trixie-slim"
python = "3.13"
gpu = false
eol = 2028-08-09
source = "https://wiki.debian.org/DebianReleases"
checked = 2026-11-24
[[image]]
name = "cuda13"
title = "CUDA 13"
family = "wheels"
directory = "wheels"
upstream = "debian:trixie-slim"
python = "3.13"
gpu = true
cuda = "13"
driver_floor = "580.65.06"
eol = 2028-08-09
source = "https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/index.html"
checked = 2026-11-24
"""


def read(text: str, today: date = TODAY) -> Matrix:
    return parse(text, {"wheels", "agent"}, today)


def test_a_row_becomes_a_typed_value() -> None:
    assert read(GOOD).images[1] == Image(
        name="cuda13",
        title="CUDA 13",
        family="wheels",
        directory="wheels",
        upstream="debian:trixie-slim",
        python="3.13",
        gpu=True,
        eol=date(2028, 8, 9),
        source="https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/index.html",
        checked=date(2026, 11, 24),
        cuda="13",
        driver_floor=DriverVersion("580.65.06"),
    )


def test_the_repository_s_own_matrix_is_good() -> None:
    assert [image.name for image in load(FOLDER, date.today()).images] == ["cpu", "cuda13", "agent"]


@pytest.mark.parametrize(
    ("registry", "prefix", "name"),
    [
        ("", "gpu-capable", "gpu-capable/cpu:0.1.0"),
        ("registry.example.com/ml", "gpu-capable", "registry.example.com/ml/gpu-capable/cpu:0.1.0"),
        ("", "mine", "mine/cpu:0.1.0"),
    ],
)
def test_an_image_s_full_name(registry: str, prefix: str, name: str) -> None:
    matrix = read(GOOD.replace('registry = ""', f'registry = "{registry}"'))
    assert matrix.reference(matrix.images[0], "0.1.0", prefix) == name


def test_rows_are_selected_by_name_in_the_file_s_order() -> None:
    matrix = read(GOOD)
    assert matrix.select([]) == matrix.images
    assert matrix.select(["cuda13", "cpu"]) == matrix.images
    assert matrix.select(["cuda13"]) == matrix.images[1:]
    with pytest.raises(MatrixError) as refused:
        matrix.select(["cuda99"])
    assert str(refused.value) == 'there is no image "cuda99"; the matrix has: cpu, cuda13'


def test_the_last_day_of_support_is_still_good() -> None:
    assert len(read(GOOD, date(2028, 8, 9)).images) == 2
    with pytest.raises(MatrixError) as refused:
        read(GOOD, date(2028, 8, 10))
    assert str(refused.value) == (
        'matrix.toml: image "cpu": debian:trixie-slim reached its end of life on 2028-08-09; '
        "move the row to a supported upstream or delete it"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schema = 1", "schema = 2", "matrix.toml: schema is 2; this code reads schema 1"),
        ("schema = 1", "schema = ", "matrix.toml is no TOML: Invalid value (at line 1, column 10)"),
        (
            "schema = 1",
            'schema = 1\nmirror = "x"',
            'matrix.toml: unknown key "mirror"; known are: schema, registry, image',
        ),
        (
            'registry = ""',
            'registry = "x/"',
            "matrix.toml: registry is 'x/'; write it like \"registry.example.com/ml\"",
        ),
        ('name = "cuda13"', 'name = "cpu"', 'matrix.toml: image "cpu" is there twice; names are unique'),
        ('name = "cuda13"', "", 'matrix.toml: image row 2: the key "name" is missing'),
        (
            'name = "cuda13"',
            'name = "CUDA 13"',
            'matrix.toml: image "CUDA 13": no image can have this name; use lower-case letters, digits and dashes',
        ),
        (
            'name = "cuda13"\ntitle = "CUDA 13"\nfamily = "wheels"',
            'name = "cuda13"\ntitle = "CUDA 13"\nfamily = "wheel"',
            'matrix.toml: image "cuda13": unknown family "wheel"; known are: wheels, toolkit, agent',
        ),
        (
            'family = "wheels"\ndirectory = "wheels"\nupstream = "debian:trixie-slim"\npython = "3.13"\ngpu = false',
            'family = "wheels"\ndirectory = "wheel"\nupstream = "debian:trixie-slim"\npython = "3.13"\ngpu = false',
            'matrix.toml: image "cpu": there is no base-images/images/wheel/Dockerfile',
        ),
        (
            "gpu = true",
            'gpu = "yes"',
            "matrix.toml: image \"cuda13\": gpu is 'yes'; write true or false",
        ),
        (
            "gpu = true",
            "gpu = false",
            'matrix.toml: image "cuda13": cuda has no meaning with gpu = false; delete it',
        ),
        ('cuda = "13"', "", 'matrix.toml: image "cuda13": the key "cuda" is missing'),
        (
            'cuda = "13"',
            'cuda = "13.0"',
            'matrix.toml: image "cuda13": cuda is "13.0"; write the major alone, like "13"',
        ),
        (
            "580.65.06",
            "r580",
            'matrix.toml: image "cuda13": driver_floor is "r580"; write a driver\'s version, like "580.65.06"',
        ),
        (
            'cuda = "13"',
            'cuda = "13"\ndigest = "sha256:1"',
            'matrix.toml: image "cuda13": digest is "sha256:1"; write "sha256:" and 64 hexadecimal digits',
        ),
        (
            'cuda = "13"',
            'cuda = "13"\ncudnn = "9"',
            'matrix.toml: image "cuda13": unknown key "cudnn"; known are: name, title, family, directory, upstream, '
            "python, source, eol, checked, gpu, cuda, driver_floor, digest",
        ),
        (
            'eol = 2028-08-09\nsource = "https://wiki',
            'eol = "2028-08-09"\nsource = "https://wiki',
            "matrix.toml: image \"cpu\": eol is '2028-08-09'; write a date without quotes, like 2028-08-09",
        ),
        (
            "https://wiki.debian.org/DebianReleases",
            "hearsay",
            'matrix.toml: image "cpu": source is "hearsay"; write the https:// address that the row rests on',
        ),
        (
            "checked = 2026-11-24\n[[image]]",
            "checked = 2026-11-25\n[[image]]",
            'matrix.toml: image "cpu": checked is 2026-11-25, which is after today, 2026-11-24',
        ),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(MatrixError) as refused:
        read(GOOD.replace(old, new, 1))
    assert str(refused.value) == message


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(MatrixError) as refused:
        read("schema = 1")
    assert str(refused.value) == "matrix.toml has no [[image]] row"


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MatrixError) as refused:
        load(tmp_path, TODAY)
    assert str(refused.value) == f"{tmp_path}/matrix.toml: cannot be read: No such file or directory"


def test_projects_are_offered_what_they_can_be_built_on() -> None:
    """The templates' list, base-images/matrix.yml, lacks the image of the node agent."""
    offered = yaml.safe_load(render((FOLDER / "matrix.toml").read_text(encoding="utf-8"), "0.1.0"))["image"]
    assert {row["family"] for row in offered} <= set(BASES)
    left = [image.name for image in load(FOLDER, date.today()).images if image.family not in BASES]
    assert left == ["agent"]
    assert [row["name"] for row in offered] == ["cpu", "cuda13"]

"""The list of images, ``base-images/matrix.toml``, as typed and checked rows."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from gpucheck.versions import DriverVersion

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: What projects are built on. wheels: the image has no CUDA library, the frameworks' wheels bring them; toolkit: the image has them.
BASES = ("wheels", "toolkit")
#: agent: gpucheck with its Kubernetes client, for the DaemonSet; no project is built on it.
FAMILIES = (*BASES, "agent")

SCHEMA = 1

#: A path component of an image's name. Source: https://pkg.go.dev/github.com/distribution/reference
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")

_TEXT = ("name", "title", "family", "directory", "upstream", "python", "source")
_DATES = ("eol", "checked")
_GPU = ("cuda", "driver_floor")
_OPTIONAL = ("digest",)


class MatrixError(ValueError):
    """The list cannot be used; the message is one line that names the row, the complaint and the next step."""


@dataclass(frozen=True, slots=True)
class Image:
    """One row: an image."""

    name: str
    title: str
    family: str
    directory: str
    """Under ``base-images/images/``, where its Dockerfile is."""
    upstream: str
    python: str
    gpu: bool
    eol: date
    """The last day on which the upstream is supported."""
    source: str
    checked: date
    cuda: str | None = None
    """The CUDA major that belongs on this image; None without ``gpu``."""
    driver_floor: DriverVersion | None = None
    """The oldest driver for that major without cuda-compat; None without ``gpu``."""
    digest: str | None = None
    """Of the published image, which the templates then name instead of the tag; None before it is published."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """All rows, in the file's order."""

    registry: str
    images: tuple[Image, ...]

    def select(self, names: Sequence[str]) -> tuple[Image, ...]:
        """The rows of these names in the file's order, all when no name is given; MatrixError for an unknown name."""
        known = [image.name for image in self.images]
        for name in names:
            if name not in known:
                raise MatrixError(f'there is no image "{name}"; the matrix has: {", ".join(known)}')
        return tuple(image for image in self.images if not names or image.name in names)

    def reference(self, image: Image, version: str, prefix: str = "gpu-capable") -> str:
        """The full name of an image, such as ``registry.example.com/ml/gpu-capable/cpu:0.1.0``."""
        return "/".join(filter(None, (self.registry, prefix, image.name))) + f":{version}"


def load(folder: Path, today: date) -> Matrix:
    """The matrix of a ``base-images`` folder; MatrixError when it cannot be used on that day."""
    file = folder / "matrix.toml"
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise MatrixError(f"{file}: cannot be read: {error.strerror}") from error
    directories = {found.parent.name for found in folder.glob("images/*/Dockerfile")}
    return parse(text, directories, today)


def parse(text: str, directories: Collection[str], today: date) -> Matrix:
    """The matrix from its text.

    ``directories`` are the folders under ``images/`` that hold a Dockerfile. MatrixError for whatever cannot be used:
    text that is no TOML, an unknown or missing key, a wrong type, a name given twice, an image past its end of life.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MatrixError(f"matrix.toml is no TOML: {error}") from error
    _refuse_unknown("matrix.toml", document, ("schema", "registry", "image"))
    if document.get("schema") != SCHEMA:
        raise MatrixError(f"matrix.toml: schema is {document.get('schema')!r}; this code reads schema {SCHEMA}")
    registry = document.get("registry", "")
    if not isinstance(registry, str) or registry.endswith("/"):
        raise MatrixError(f'matrix.toml: registry is {registry!r}; write it like "registry.example.com/ml"')
    rows = document.get("image")
    if not isinstance(rows, list) or not rows:
        raise MatrixError("matrix.toml has no [[image]] row")
    images: list[Image] = []
    for number, row in enumerate(rows, 1):
        image = _parse_row(number, row, directories, today)
        if image.name in [other.name for other in images]:
            raise MatrixError(f'matrix.toml: image "{image.name}" is there twice; names are unique')
        images.append(image)
    return Matrix(registry, tuple(images))


def _refuse_unknown(where: str, row: Mapping[str, object], known: Sequence[str]) -> None:
    for key in row:
        if key not in known:
            raise MatrixError(f'{where}: unknown key "{key}"; known are: {", ".join(known)}')


def _parse_row(number: int, row: Mapping[str, object], directories: Collection[str], today: date) -> Image:
    where = f'matrix.toml: image "{row["name"]}"' if row.get("name") else f"matrix.toml: image row {number}"
    _refuse_unknown(where, row, (*_TEXT, *_DATES, "gpu", *_GPU, *_OPTIONAL))
    texts = {key: _read_text(where, row, key) for key in _TEXT}
    dates = {key: _read_date(where, row, key) for key in _DATES}

    gpu = row.get("gpu")
    if not isinstance(gpu, bool):
        raise MatrixError(f"{where}: gpu is {gpu!r}; write true or false")
    if not gpu:
        for key in _GPU:
            if key in row:
                raise MatrixError(f"{where}: {key} has no meaning with gpu = false; delete it")
    cuda = _read_text(where, row, "cuda") if gpu else None
    floor = _read_text(where, row, "driver_floor") if gpu else None
    driver_floor = DriverVersion.parse(floor) if floor else None
    digest = _read_text(where, row, "digest") if "digest" in row else None

    if not _COMPONENT.fullmatch(texts["name"]):
        raise MatrixError(f"{where}: no image can have this name; use lower-case letters, digits and dashes")
    if texts["family"] not in FAMILIES:
        raise MatrixError(f'{where}: unknown family "{texts["family"]}"; known are: {", ".join(FAMILIES)}')
    if texts["directory"] not in directories:
        raise MatrixError(f"{where}: there is no base-images/images/{texts['directory']}/Dockerfile")
    if not re.fullmatch(r"3\.\d+", texts["python"]):
        raise MatrixError(f'{where}: python is "{texts["python"]}"; write it like "3.13"')
    if cuda and not re.fullmatch(r"\d+", cuda):
        raise MatrixError(f'{where}: cuda is "{cuda}"; write the major alone, like "13"')
    if floor and not driver_floor:
        raise MatrixError(f'{where}: driver_floor is "{floor}"; write a driver\'s version, like "580.65.06"')
    if digest and not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise MatrixError(f'{where}: digest is "{digest}"; write "sha256:" and 64 hexadecimal digits')
    if not texts["source"].startswith("https://"):
        raise MatrixError(f'{where}: source is "{texts["source"]}"; write the https:// address that the row rests on')
    if dates["checked"] > today:
        raise MatrixError(f"{where}: checked is {dates['checked']}, which is after today, {today}")
    if dates["eol"] < today:
        raise MatrixError(
            f"{where}: {texts['upstream']} reached its end of life on {dates['eol']}; "
            "move the row to a supported upstream or delete it"
        )
    return Image(
        name=texts["name"],
        title=texts["title"],
        family=texts["family"],
        directory=texts["directory"],
        upstream=texts["upstream"],
        python=texts["python"],
        gpu=gpu,
        eol=dates["eol"],
        source=texts["source"],
        checked=dates["checked"],
        cuda=cuda,
        driver_floor=driver_floor,
        digest=digest,
    )


def _read_text(where: str, row: Mapping[str, object], key: str) -> str:
    value = row.get(key)
    if value is None:
        raise MatrixError(f'{where}: the key "{key}" is missing')
    if not isinstance(value, str) or not value:
        raise MatrixError(f"{where}: {key} is {value!r}; write a text")
    return value


def _read_date(where: str, row: Mapping[str, object], key: str) -> date:
    value = row.get(key)
    if value is None:
        raise MatrixError(f'{where}: the key "{key}" is missing')
    if type(value) is not date:
        raise MatrixError(f"{where}: {key} is {str(value)!r}; write a date without quotes, like 2028-08-09")
    return value

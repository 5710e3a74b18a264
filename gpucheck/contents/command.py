"""``gpucheck image``: from an opened image, or its config alone, to text and an exit code."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gpucheck.codec import encode
from gpucheck.contents import labels, needs, page
from gpucheck.contents.reading import read
from gpucheck.contents.records import Contents, LayerSize
from gpucheck.contract import Contract
from gpucheck.engine import judge
from gpucheck.facts import SCHEMA, FalseLabel, Seen, Snapshot
from gpucheck.finding import Report, Status, Verdict
from gpucheck.images.opening import Image
from gpucheck.images.records import Described
from gpucheck.probes import observe
from gpucheck.record import dataclass, replace
from gpucheck.render import document, render

#: labels: a Dockerfile that sets them; the last three are those of every report.
FORMATS = ("text", "json", "labels", "junit", "sarif", "html")

FINE, PROBLEMS, UNKNOWN = 0, 1, 3
STATUS = {Verdict.COMPATIBLE: FINE, Verdict.CONDITIONAL: FINE, Verdict.INCOMPATIBLE: PROBLEMS, Verdict.UNKNOWN: UNKNOWN}


@dataclass(frozen=True, slots=True)
class Answer:
    """What is printed, and how it ends."""

    text: str
    status: int


@dataclass(frozen=True, slots=True)
class Inspected:
    """All that is known of an image."""

    report: Report
    contents: Contents
    contract: Contract
    diff_ids: tuple[str, ...]

    @property
    def snapshot(self) -> Snapshot:
        """What the rules judged."""
        return self.report.snapshot


def inspect(image: Image, python: str | None = None) -> Inspected:
    """Look at an image and judge it."""
    snapshot = observe(image.system, python)
    found = read(image, snapshot)
    report = judge(snapshot)
    contract = needs.contract_of(found, snapshot, report, image.system)
    contents = replace(found.contents, needs=needs.needs_of(contract))
    diff_ids = tuple(layer.diff_id for layer in image.layers)
    if contents.labels:
        said = dict(contents.labels)
        labelled = labels.read_labels(said, image.system.env, diff_ids, contents.reference, contents.digest)
        false = tuple(labels.find_false(said, labelled, contract, snapshot))
        report = judge(replace(snapshot, labels=Seen(false, "labels of the image")))
    return Inspected(report, contents, contract, diff_ids)


def find_contract(reference: str, describe: Callable[[], Described], open_layers: Callable[[], Image]) -> Contract:
    """The contract of an image: that of its labels where they speak of it, else from its files.

    ``describe`` and ``open_layers`` give its config and its files; the files are opened only where the labels do not tell.
    """
    if not os.path.isdir(reference.removeprefix("dir:")):
        described = describe()
        layers = [layer.diff_id for layer in described.layers]
        config = described.config
        found = labels.read_labels(config.labels, config.env, layers, described.reference, described.digest)
        if found.contract:
            return found.contract
    with open_layers() as image:
        return inspect(image).contract


def run(
    image: Image, *, format: str, strict: bool, colour: bool, everything: bool, python: str | None = None
) -> Answer:
    """The report on an image."""
    found = inspect(image, python)
    status = found.report.exit_code(strict)
    if format == "labels":
        return Answer(
            as_dockerfile(image.reference, labels.write_labels(found.contract, found.snapshot, found.diff_ids)), FINE
        )
    if format == "json":
        return Answer(write(build(found)), status)
    if format != "text":
        return Answer(_printable(render(found.report, f"image {found.contents.reference}", format, False)), status)
    return Answer(_printable(page.render(found.report, found.contents, colour=colour, everything=everything)), status)


def build(found: Inspected) -> dict[str, Any]:
    """The report as a JSON-able object. Its schema is docs/schema/image.json."""
    return {
        **document.build(found.report, "image"),
        "image": encode(found.contents),
        "contract": encode(found.contract),
    }


def write(document: Mapping[str, Any]) -> str:
    """The document as text, two spaces a level. File names that are no UTF-8 go out escaped."""
    return _printable(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def as_dockerfile(reference: str, named: Mapping[str, str]) -> str:
    """A Dockerfile that gives an image its labels, and no layer: ``gpucheck image X --format labels | docker build -t X -``.

    Escapes: https://docs.docker.com/reference/dockerfile/#label and #environment-replacement.
    """
    lines = [f"FROM {labels.name_in_engine(reference)}"]
    for name, value in named.items():
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
        lines.append(f'LABEL {name}="{escaped}"')
    return "\n".join(lines) + "\n"


# -- labels alone ------------------------------------------------------------------------------------------------------


def run_labels_only(image: Described, *, format: str, strict: bool, colour: bool) -> Answer:
    """Judge an image by its config: what its contract label says, or that it has none."""
    config = image.config
    diff_ids = [layer.diff_id for layer in image.layers]
    labelled = labels.read_labels(config.labels, config.env, diff_ids, image.reference, image.digest)
    contract = labelled.contract
    verdict = _verdict(contract)
    status = PROBLEMS if strict and verdict is Verdict.CONDITIONAL else STATUS[verdict]
    contents = Contents(
        reference=image.reference,
        digest=image.digest,
        architecture=contract.architecture if contract else "",
        user=config.user,
        entrypoint=tuple(config.entrypoint),
        command=tuple(config.cmd),
        labels=tuple(sorted(item for item in config.labels.items() if labels.speaks_of_gpus(item[0]))),
        layers=tuple(
            LayerSize(layer.digest, layer.created_by, layer.size, layer.unpacked, 0) for layer in image.layers
        ),
        folders=(),
        libraries=(),
        code=(),
        unread=(labelled.why,) if labelled.why else (),
        needs=needs.needs_of(contract) if contract else (),
    )
    if format == "json":
        rule = {
            "rule": "label-contradicts-image",
            "status": Status.UNKNOWN.value,
            "why": labelled.why,
            "tried": [labels.CONTRACT],
        }
        text = write(
            {
                "schema": SCHEMA,
                "command": "image",
                "verdict": verdict.value,
                "root_causes": list(contract.broken) if contract else [],
                "findings": [],
                "outcomes": [rule] if labelled.why else [],
                "snapshot": None,
                "image": encode(contents),
                "contract": encode(contract) if contract else None,
            }
        )
        return Answer(text, status)
    return Answer(_printable(page.render_labels(contents, contract, verdict, colour=colour)), status)


def _verdict(contract: Contract | None) -> Verdict:
    if contract is None:
        return Verdict.UNKNOWN
    if contract.broken:
        return Verdict.INCOMPATIBLE
    return Verdict.CONDITIONAL if contract.limits else Verdict.COMPATIBLE


# -- labels against the image ------------------------------------------------------------------------------------------


def run_verify_labels(image: Image, *, format: str, python: str | None = None) -> Answer:
    """Compare each label with what is in the image: 1 when one is not true, 3 when there is none to compare."""
    found = inspect(image, python)
    false = found.snapshot.labels.value if isinstance(found.snapshot.labels, Seen) else ()
    status = PROBLEMS if false else FINE if found.contents.labels else UNKNOWN
    if format == "json":
        return Answer(write(build(found)), status)
    return Answer(_printable("\n".join(_compared(image, found, false)) + "\n"), status)


def _compared(image: Image, found: Inspected, false: Sequence[FalseLabel]) -> Iterator[str]:
    yield f"gpucheck image --verify-labels: {found.contents.reference}"
    if not found.contents.labels:
        yield "? it has no label that speaks of GPUs; give it some: " + labels.how_to(found.contents.reference)
        return
    wrong = {each.label.partition(":")[0] for each in false}
    width = max(len(name) for name, _ in found.contents.labels)
    for name, value in found.contents.labels:
        shown = value if len(value) <= 60 else f"{value[:57]}..."
        if name == labels.CONTRACT and name not in wrong:
            labelled = labels.read_labels(
                dict(found.contents.labels), image.system.env, found.diff_ids, found.contents.reference, ""
            )
            shown = "of the base image: it does not count for this one" if labelled.inherited else "as seen"
        yield f"{'✗' if name in wrong else '✓'} {name:<{width}}  {shown}"
    for each in false:
        yield ""
        yield f"✗ {each.label} says {each.said}"
        yield f"    seen     {each.seen}" + (f"  ({each.source})" if each.source else "")
    if false:
        yield ""
        yield f"    do       {labels.how_to(found.contents.reference)}"

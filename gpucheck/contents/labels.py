"""The contract as labels of an image, and whether the labels that an image has are true of it.

Labels are inherited: an image that is built on another has the other's, whatever it adds. So the contract says which layers it
speaks of, and one that speaks of fewer than the image has is the base image's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256

from gpucheck import kb
from gpucheck.codec import Malformed, decode, encode
from gpucheck.compat.needs import demands
from gpucheck.contract import SCHEMA, Contract
from gpucheck.facts import FalseLabel, Snapshot
from gpucheck.record import dataclass, replace

CONTRACT = "gpu-capable.contract"
#: A registry refuses configurations beyond some megabytes, and a label is a word of a command line.
MAX_LABEL = 64 << 10


@dataclass(frozen=True, slots=True)
class Labelled:
    """What the contract label of an image is worth."""

    contract: Contract | None
    """None: there is none that speaks of this image."""
    why: str
    """One line: why there is none; '' when there is one."""
    inherited: bool = False
    """It is there, but speaks of the image that this one is built on."""


def write_labels(contract: Contract, snapshot: Snapshot, diff_ids: Sequence[str]) -> dict[str, str]:
    """The labels to give an image. ``diff_ids``: of its layers, the lowest first."""
    document = {"layers": len(diff_ids), "chain": chain(diff_ids), **_compact(contract)}
    labels = {
        CONTRACT: json.dumps(document, separators=(",", ":"), ensure_ascii=False),
        "gpu-capable.gpu": {True: "true", False: "false", None: ""}[contract.gpu],
        "gpu-capable.python": snapshot.pythons[0].version if snapshot.pythons else "",
    }
    if majors := cuda_majors(contract):
        labels["gpu-capable.cuda"] = ",".join(map(str, majors))
        if family := kb.families().get(majors[-1]):
            labels["gpu-capable.driver-floor"] = str(family.driver_floor)
    return {name: value for name, value in labels.items() if value}


def _compact(contract: Contract) -> dict[str, object]:
    """Without what an image cannot know of itself, its name and digest."""
    fields = dict(encode(contract))
    del fields["image"], fields["digest"]
    return fields


def chain(diff_ids: Sequence[str]) -> str:
    """The ChainID of layers: the OCI image specification, config.md, "Layer ChainID"."""
    found = ""
    for diff_id in diff_ids:
        found = f"sha256:{sha256(f'{found} {diff_id}'.encode()).hexdigest()}" if found else diff_id
    return found


def name_in_engine(reference: str) -> str:
    """What ``docker build`` calls an image; ``IMAGE`` for one that is a file or a folder."""
    scheme, colon, rest = reference.partition(":")
    if colon and scheme in ("docker", "registry"):
        return rest.removeprefix("//")
    # The grammar of names: https://github.com/distribution/reference/blob/main/reference.go
    return (
        reference if re.match(r"[a-zA-Z0-9]", reference) and scheme not in FILES and "//" not in reference else "IMAGE"
    )


#: Schemes of images that are files or folders.
FILES = ("dir", "oci", "oci-archive", "docker-archive")


def how_to(reference: str) -> str:
    """The command that gives an image its labels."""
    name = name_in_engine(reference)
    return f"gpucheck image {name} --format labels | docker build -t {name} -"


def read_labels(
    labels: Mapping[str, str], env: Mapping[str, str], diff_ids: Sequence[str], reference: str, digest: str
) -> Labelled:
    """The contract that an image's labels give, if they speak of this image."""
    text = labels.get(CONTRACT)
    if text is None:
        return Labelled(None, f"the image has no label {CONTRACT}; it gets one by: {how_to(reference)}")
    if len(text) > MAX_LABEL:
        return Labelled(None, f"the label {CONTRACT} has {len(text)} characters, more than {MAX_LABEL}")
    try:
        data = json.loads(text)
        if not isinstance(data, dict):
            raise ValueError("no object")
        layers, of = data.pop("layers"), data.pop("chain")
        if data.get("schema") != SCHEMA:
            return Labelled(
                None, f"the label {CONTRACT} has schema {data.get('schema')!r:.20}, this gpucheck reads {SCHEMA}"
            )
        contract = decode(Contract, {**data, "image": reference, "digest": digest})
    except (ValueError, KeyError, RecursionError, Malformed) as error:
        return Labelled(None, f"the label {CONTRACT} is no contract: {str(error)[:120]}")
    if layers != len(diff_ids) or of != chain(diff_ids):
        base = isinstance(layers, int) and 0 <= layers < len(diff_ids) and of == chain(diff_ids[:layers])
        return Labelled(
            None,
            f"the label {CONTRACT} is that of the image that this one is built on: it speaks of {layers} of {len(diff_ids)} layers"
            if base
            else f"the label {CONTRACT} speaks of other layers than the image has",
            inherited=base,
        )
    return _with_environment(contract, env)


def _with_environment(contract: Contract, env: Mapping[str, str]) -> Labelled:
    """A child may have set variables without a layer: the configuration's own are right."""
    if contract.library_path != env.get("LD_LIBRARY_PATH"):
        return Labelled(None, f"LD_LIBRARY_PATH is not the one that the label {CONTRACT} was made with", inherited=True)
    return Labelled(
        replace(
            contract,
            capabilities=env.get("NVIDIA_DRIVER_CAPABILITIES"),
            visible_devices=env.get("NVIDIA_VISIBLE_DEVICES"),
            requirements=requirements(env),
        ),
        "",
    )


def speaks_of_gpus(label: str) -> bool:
    """Whether a label is one of those that are shown and compared."""
    return label.startswith(("gpu-capable.", "com.nvidia."))


def requirements(env: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The variables by which an image says what it wants of a node, sorted by name."""
    return tuple(
        (name, value)
        for name, value in sorted(env.items())
        if name.startswith("NVIDIA_REQUIRE_") or name in ("NVIDIA_DISABLE_REQUIRE", "CUDA_VERSION")
    )


def cuda_majors(contract: Contract) -> tuple[int, ...]:
    """The CUDA majors that what decides in the image is built with, lowest first."""
    return tuple(sorted({demand.major for demand in demands(contract)}))


# -- are they true -----------------------------------------------------------------------------------------------------


def find_false(
    labels: Mapping[str, str], labelled: Labelled, contract: Contract, snapshot: Snapshot
) -> Iterator[FalseLabel]:
    """The labels that what is in the image contradicts. What it neither shows nor contradicts is no lie."""
    majors = cuda_majors(contract)
    shown = ", ".join(map(str, majors))
    where = next((code.evidence for code in contract.code), contract.runtimes[0].path if contract.runtimes else "")
    if (said := labels.get("gpu-capable.cuda")) and not set(re.split(r"[,\s]+", said)) >= set(map(str, majors)):
        yield FalseLabel("gpu-capable.cuda", said, f"CUDA {shown}", where)
    if (said := labels.get("gpu-capable.driver-floor")) and majors:
        family = kb.families().get(majors[-1])
        if family and said != str(family.driver_floor) and _numbers(said) < family.driver_floor.numbers:
            yield FalseLabel("gpu-capable.driver-floor", said, f"CUDA {majors[-1]} needs {family.driver_floor}", where)
    if (said := labels.get("gpu-capable.gpu")) == "false" and contract.gpu:
        yield FalseLabel("gpu-capable.gpu", said, "it has code for GPUs", where)
    if (said := labels.get("gpu-capable.python")) and snapshot.pythons:
        versions = {python.version for python in snapshot.pythons if python.version}
        if versions and said not in versions:
            yield FalseLabel(
                "gpu-capable.python", said, f"Python {', '.join(sorted(versions))}", snapshot.pythons[0].prefix
            )
    if labels.get("gpu-capable.family") == "wheels":
        toolkit = [library for library in snapshot.libraries if library.kind == "toolkit"]
        if toolkit:
            yield FalseLabel(
                "gpu-capable.family", "wheels", f"{len(toolkit)} libraries of a CUDA toolkit", toolkit[0].path
            )
    if said := labels.get("com.nvidia.cudnn.version"):
        found = [
            library for library in snapshot.libraries if library.soname.startswith("libcudnn.so") and library.version
        ]
        if found and not any(_same_release(said, library.version) for library in found):
            yield FalseLabel("com.nvidia.cudnn.version", said, f"cuDNN {found[0].version}", found[0].path)
    yield from _false_contract(labelled, contract)
    if labels.get(CONTRACT) and labelled.contract is None and not labelled.inherited:
        yield FalseLabel(CONTRACT, f"{labels[CONTRACT][:40]}...", labelled.why, "")


def _false_contract(labelled: Labelled, contract: Contract) -> Iterator[FalseLabel]:
    if labelled.contract is None:
        return
    said, seen = _compact(labelled.contract), _compact(contract)
    for name, value in seen.items():
        if said[name] != value:
            yield FalseLabel(f"{CONTRACT}: {name}", _short(said[name]), _short(value), "")


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def _same_release(label: str, version: str) -> bool:
    """``9.1.0.70-1`` is 9.1.0.70 of the package; a file's name may tell only 9.1.0."""
    said, seen = label.partition("-")[0].split("."), version.split(".")
    length = min(len(said), len(seen), 3)
    return said[:length] == seen[:length]

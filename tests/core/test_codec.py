"""Snapshots as JSON, both ways, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gpucheck.codec import Malformed, decode, encode
from gpucheck.facts import Snapshot
from tests.machines import answers, bare, gpu, healthy, image


@pytest.mark.parametrize("snapshot", [healthy(), bare(), image(), healthy(cuda=answers(gpus=(gpu(mig=True),)))])
def test_a_snapshot_survives_json(snapshot: Snapshot) -> None:
    assert decode(Snapshot, json.loads(json.dumps(encode(snapshot)))) == snapshot


def changed(*path: str | int, to: object) -> Any:
    document = json.loads(json.dumps(encode(healthy())))
    place = document
    for step in path[:-1]:
        place = place[step]
    if to is None:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return document


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (changed("tool", to=None), "snapshot: no 'tool'"),
        (changed("extra", to=1), "snapshot: unknown field 'extra'"),
        (changed("host", "architecture", to=64), "snapshot.host.architecture: expected str, not 64"),
        (changed("host", "live", to=1), "snapshot.host.live: expected bool, not 1"),
        (changed("schema", to=True), "snapshot.schema: expected int, not True"),
        (
            changed("kernel", "driver", "value", "version", to="new"),
            "snapshot.kernel.driver.value.version: expected a version, not 'new'",
        ),
        (
            changed("kubernetes", "why", to="tired"),
            "snapshot.kubernetes.why: expected one of absent, unreadable, not-applicable, not 'tired'",
        ),
        (changed("pci", "value", to="none"), "snapshot.pci.value: expected a list, not 'none'"),
        (
            changed("nodes", "value", 0, "number", to=[1, 2, 3]),
            "snapshot.nodes.value[0].number: expected 2 parts, not 3",
        ),
        (changed("cuda", to=7), "snapshot.cuda: not a fact: 7"),
        ([], "snapshot: expected an object, not []"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(document: Any, message: str) -> None:
    with pytest.raises(Malformed) as refused:
        decode(Snapshot, document)
    assert str(refused.value) == message

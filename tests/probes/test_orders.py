"""Modules that fail after torch and not before it."""

from __future__ import annotations

import pytest

from gpucheck.facts import Late
from gpucheck.libs.interpreter import start_interpreter
from gpucheck.probes.orders import late
from tests.corpus.elves import Shared, write
from tests.elf.workshop import Root
from tests.libs.places import SITE, distribution, environment, installed, python, system

MODULE = "ext.cpython-312-x86_64-linux-gnu.so"
OLD, NEW = "GLIBCXX_3.4.19", "GLIBCXX_3.4.30"
CASES = [
    ("it needs what only the newer has", NEW, (OLD,), True),
    ("it needs what both have", OLD, (OLD,), False),
    ("a libstdc++ without versions is let pass", NEW, (), False),
]


def place(root: Root, path: str, described: Shared) -> None:
    (root.here / path).parent.mkdir(parents=True, exist_ok=True)
    (root.here / path).write_bytes(write(described))


@pytest.mark.parametrize(("needs", "has", "found"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_module_after_torch(root: Root, needs: str, has: tuple[str, ...], found: bool) -> None:
    """Python has an RPATH to a newer libstdc++; torch's library has RUNPATH, for which that does not count."""
    python(root, rpath="/opt/new")
    place(root, "usr/lib/libstdc++.so.6", Shared("libstdc++.so.6", defines=has))
    place(root, "opt/new/libstdc++.so.6", Shared("libstdc++.so.6", defines=(OLD, NEW)))
    distribution(root, "torch", "2.0.1", ("torch/lib/libtorch.so",))
    root.lib(f"{SITE}/torch/lib/libtorch.so", "libstdc++.so.6", runpath="$ORIGIN")
    distribution(root, "ext", "1.0", (MODULE,))
    place(root, f"{SITE}/{MODULE}", Shared(needed=("libstdc++.so.6",), wants={"libstdc++.so.6": (needs,)}))
    after, fresh = (start_interpreter(system(root), environment(root)) for _ in range(2))
    after.process.dlopen(f"/{SITE}/torch/lib/libtorch.so", after.caller)
    expected = Late(
        "ext", f"/{SITE}/{MODULE}", "libstdc++.so.6", "/usr/lib/libstdc++.so.6", "/opt/new/libstdc++.so.6", NEW
    )
    assert list(late(system(root), installed(root, "torch"), after, fresh)) == ([expected] if found else [])

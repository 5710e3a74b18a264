"""Real images out of real wheels, with what is good and what is wrong in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci.engine import Engine
from gpucheck.contents import labels
from gpucheck.contents.command import Inspected, as_dockerfile, inspect, run_labels_only
from gpucheck.contents.page import render
from gpucheck.finding import Severity, Verdict
from gpucheck.images.opening import open_image, read_config
from tests.cache import driver_folder, wheel_packages
from tests.contents import shelf
from tests.contents.workshop import ENVIRONMENT, Shop
from tests.disposable import disposable
from tests.layers.workshop import save
from tests.needs import missing

#: Name: (verdict, rules of warnings and errors, frameworks in the contract with their CUDA, targets among those of the first).
#: NVIDIA's wheels were left out of some in part, to keep them small, and rules rightly miss them.
EXPECTED: dict[str, tuple[Verdict, list[str], dict[str, int], set[str]]] = {
    "torch": (Verdict.COMPATIBLE, [], {"torch": 13}, {"sm_80", "sm_90", "sm_120"}),
    "jax": (
        Verdict.INCOMPATIBLE,
        ["requirement-unmet", "library-missing", "libdevice-missing"],
        {"jax": 13},
        {"sm_75", "sm_90", "compute_120"},
    ),
    "tensorflow": (Verdict.INCOMPATIBLE, ["library-missing"], {"tensorflow": 12}, {"sm_60", "sm_89", "compute_90"}),
    "onnxruntime": (Verdict.INCOMPATIBLE, ["library-missing"], {"onnxruntime-gpu": 13}, {"sm_75", "sm_90a"}),
    "cupy": (Verdict.CONDITIONAL, ["library-missing"], {"cupy-cuda12x": 12}, {"sm_50", "sm_120f", "compute_100"}),
    "xgboost": (Verdict.COMPATIBLE, [], {"xgboost": 12}, {"sm_50", "sm_120", "compute_120"}),
    "doubled": (Verdict.INCOMPATIBLE, ["library-missing", "cuda-twice-in-image"], {"onnxruntime-gpu": 13}, set()),
    "stubs": (Verdict.INCOMPATIBLE, ["libcuda-is-stub"], {"xgboost": 12}, set()),
    "compat": (Verdict.CONDITIONAL, ["compat-always-used"], {"xgboost": 12}, set()),
    "driver": (Verdict.CONDITIONAL, ["libcuda-in-image"], {"xgboost": 12}, set()),
    "cpu": (Verdict.COMPATIBLE, [], {}, set()),
}


def look(image: str) -> Inspected:
    with open_image(f"docker:{image}") as opened:
        return inspect(opened)


def find(shop: Shop, name: str) -> Inspected:
    if name == "torch":
        with open_image(f"dir:{shop.folder(name)}", env=ENVIRONMENT) as opened:
            return inspect(opened)
    return look(shelf.find(shop, name))


@pytest.mark.parametrize("name", EXPECTED)
def test_what_is_said_of_a_real_image(name: str, shop: Shop) -> None:
    verdict, rules, frameworks, targets = EXPECTED[name]
    found = find(shop, name)
    heavy = [each.rule for each in found.report.everything() if each.severity is not Severity.NOTE]
    assert found.report.verdict is verdict
    assert set(rules) <= set(heavy)
    assert heavy == [] or found.report.verdict is not Verdict.COMPATIBLE
    cuda = {code.name: code.cuda.major if code.cuda else code.cuda_major for code in found.contract.code}
    assert {key: cuda.get(key) for key in frameworks} == frameworks
    assert targets <= {target for code in found.contract.code[:1] for target in code.targets}
    assert found.contract.gpu is bool(frameworks)
    assert found.contents.unread == ()


def test_a_doubled_image_says_how_much_and_who_gets_which(shop: Shop) -> None:
    found = look(shelf.find(shop, "doubled"))
    twice = {library.soname: library for library in found.contents.libraries if library.wasted}
    assert set(twice) == {"libcudart.so.13", "libnvrtc.so.13", "libnvJitLink.so.13"}
    assert found.contents.wasted > 200e6
    assert {copy.version for copy in twice["libnvrtc.so.13"].copies} == {"13.2.86", "13.5.37"}
    winners = {winner.requester: winner.path for winner in twice["libcudart.so.13"].winners}
    assert str(winners["a program"]).startswith(shelf.TOOLKIT)
    page = render(found.report, found.contents, colour=False)
    assert f"Twice in it: {found.contents.wasted / 1e6:,.0f} MB of copies" in page
    layers = [layer.cuda for layer in found.contents.layers]
    assert sum(layers) == sum(copy.size for library in found.contents.libraries for copy in library.copies) + sum(
        (wheel_packages("onnxruntime-gpu") / code.path.split("/site-packages/")[1]).stat().st_size
        for code in found.contents.code
        if code.owner.startswith("onnxruntime")
    )


def test_a_stub_breaks_the_image_on_every_node_and_cuda_compat_is_named(shop: Shop) -> None:
    assert look(shelf.find(shop, "stubs")).contract.broken == ("libcuda-is-stub",)
    compat = look(shelf.find(shop, "compat")).contract
    assert compat.limits == ("compat-always-used",)
    assert compat.forward is not None
    assert (compat.forward.route, compat.forward.because) == (
        "always",
        f"/etc/ld.so.conf.d/00-compat.conf names {shelf.TOOLKIT}/compat",
    )
    assert compat.forward.version is not None and compat.forward.version.branch == 550


def test_labels_are_set_by_the_engine_and_a_child_is_not_judged_by_them(shop: Shop, engine: Engine) -> None:
    image = shelf.find(shop, "xgboost")
    with open_image(f"docker:{image}") as opened:
        found = inspect(opened)
    text = as_dockerfile(f"docker:{image}", labels.write_labels(found.contract, found.snapshot, found.diff_ids))
    name, onto = disposable("labelled"), disposable("child")
    for tag, dockerfile in ((name, text), (onto, f"FROM {name}\nRUN echo more > /tmp/more\n")):
        assert engine.build(["--tag", tag], dockerfile) == 0
    labelled = read_config(f"docker:{name}")
    alone = run_labels_only(labelled, format="text", strict=False, colour=False)
    assert (alone.status, "525.60.13 or newer: CUDA 12 (xgboost" in alone.text) == (0, True), alone.text
    child = run_labels_only(read_config(f"docker:{onto}"), format="text", strict=False, colour=False)
    assert (child.status, "is that of the image that this one is built on" in " ".join(child.text.split())) == (
        3,
        True,
    )


def test_an_alpine_image_with_wheels_for_glibc_says_that_no_driver_loads_there(tmp_path: Path) -> None:
    linker = Path("/lib/ld-musl-x86_64.so.1")
    if not linker.exists():
        missing("an image with musl", "apt-get install musl")
    site = "/usr/lib/python3.12/site-packages"
    files = {
        "/etc/os-release": 'ID=alpine\nVERSION_ID=3.22.1\nPRETTY_NAME="Alpine Linux v3.22"\n',
        "/lib/ld-musl-x86_64.so.1": linker.read_bytes(),
        "/usr/bin/python3": b"\x7fELF",
        f"{site}/xgboost-3.2.0.dist-info/METADATA": "Name: xgboost\nRequires-Dist: nvidia-nccl-cu12\n",
        f"{site}/xgboost-3.2.0.dist-info/RECORD": "xgboost/lib/libxgboost.so,,\n",
        f"{site}/xgboost/lib/libxgboost.so": (wheel_packages("xgboost") / "xgboost/lib/libxgboost.so").read_bytes(),
    }
    with open_image(save(tmp_path / "alpine.tar", [files], {"PATH": "/usr/bin"}), cache=False) as opened:
        found = inspect(opened)
    assert found.contract.libc.startswith("musl")
    assert [code.name for code in found.contract.code] == ["xgboost"]
    assert any("do not load" in need.text for need in found.contents.needs if need.what == "C library")


def test_a_driver_that_is_baked_in_is_listed_with_its_version(shop: Shop) -> None:
    found = look(shelf.find(shop, "driver"))
    (real,) = driver_folder(535).glob("libcuda.so.535.*")
    (libcuda,) = [library for library in found.contents.libraries if library.soname == "libcuda.so.1"]
    assert [(copy.kind, copy.version) for copy in libcuda.copies] == [("driver", real.name.removeprefix("libcuda.so."))]

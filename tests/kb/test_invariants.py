"""The rows of all tables: each is whole, and the tables agree with each other."""

from __future__ import annotations

import datetime
import re
from itertools import pairwise
from pathlib import Path

import pytest

from gpucheck import kb
from gpucheck.kb import capabilities, clouds, forward, frameworks, gpus, kernel_log, packages, toolkits, xids
from gpucheck.kb.command import TABLES, Table
from gpucheck.versions import CudaVersion

BUILDS = [row for library in frameworks.libraries() for row in frameworks.builds(library)]


def name(row: object) -> str:
    return "-".join(str(getattr(row, field)) for field in ("library", "version", "variant") if getattr(row, field, ""))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_row_has_a_source_a_date_and_a_reason_for_doubt(table: Table) -> None:
    rows = table.rows
    assert rows
    for row in rows:
        assert row.source.startswith("https://"), row
        assert row.checked >= datetime.date(2026, 1, 1), row
        assert row.confidence in ("", "low"), row
        assert row.note or not row.confidence, f"{row} is doubtful, and no note says why"


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_key_names_a_row(table: Table) -> None:
    for row in table.rows:
        assert any(getattr(row, field) not in ("", None) for field in table.key), row


def test_every_table_of_every_file_is_listed() -> None:
    files = list(Path(kb.__file__).parent.glob("*.toml"))
    held = sum(len(rows) for file in files for rows in kb._read(file.stem).values() if isinstance(rows, list))
    assert held == sum(len(table.rows) for table in TABLES), "add the new table to TABLES in gpucheck/kb/command.py"


def test_what_every_run_reads_is_small() -> None:
    for file in ("places", "libraries", "drivers"):
        assert len((Path(kb.__file__).parent / f"{file}.toml").read_bytes()) < 12_000, file


# -- drivers and toolkits ----------------------------------------------------------------------------------------------


def test_a_familys_floor_is_on_a_branch_that_implements_its_major() -> None:
    for family in kb.families().values():
        assert kb.branches()[family.driver_floor.branch].cuda.major == family.cuda_major
        older = [row for row in kb.branches().values() if row.branch < family.driver_floor.branch]
        assert all(row.cuda.major < family.cuda_major for row in older)


def test_every_branch_implements_a_toolkit_and_every_toolkit_has_its_branch() -> None:
    for toolkit in toolkits.toolkits().values():
        assert kb.branches()[toolkit.branch].cuda == toolkit.cuda, toolkit
    known = {row.cuda for row in kb.branches().values() if row.cuda >= CudaVersion(10, 0)}
    assert known - set(toolkits.toolkits()) == {CudaVersion(12, 7)}, "12.7 was a driver's version only"


def test_releases_are_of_their_toolkit_and_in_order() -> None:
    for row in toolkits.releases():
        toolkit = toolkits.toolkits()[row.cuda]
        assert row.version.startswith(f"{row.cuda}."), row
        for driver in (row.driver, row.bundled):
            assert driver is None or driver.branch == toolkit.branch, row
        assert row.driver is None or row.bundled is None or row.driver <= row.bundled, row
    numbers = [tuple(map(int, row.version.split("."))) for row in toolkits.releases()]
    assert numbers == sorted(numbers)
    for field in ("driver", "bundled"):
        drivers = [driver for row in toolkits.releases() if (driver := getattr(row, field))]
        assert all(older <= newer for older, newer in pairwise(drivers)), field
    assert {row.cuda for row in toolkits.releases()} == set(toolkits.toolkits())


# -- GPUs --------------------------------------------------------------------------------------------------------------


def test_capabilities_name_toolkits_branches_and_capabilities_that_exist() -> None:
    known = capabilities.capabilities()
    # Toolkits before 10.0 have no row.
    recent = set(toolkits.toolkits())
    for row in known.values():
        for toolkit in (row.first_toolkit, row.last_toolkit, row.a_toolkit, row.f_toolkit):
            assert toolkit is None or toolkit in recent or toolkit < CudaVersion(10, 0), row
        assert row.last_toolkit is None or row.first_toolkit <= row.last_toolkit, row
        for target in (row.a_toolkit, row.f_toolkit):
            assert target is None or target >= row.first_toolkit, row
        assert row.last_branch is None or row.last_branch in kb.branches(), row
        assert bool(row.family) == bool(row.f_toolkit), row
        assert set(row.family) <= set(known), row
        assert not row.family or (row.now or row.capability) in row.family, row
        assert row.now is None or row.now in known, row
        assert row.products, row


def test_generations_and_capabilities_tell_the_same_of_an_architecture() -> None:
    """A device id is all that is known of a GPU without a driver, a capability what a contract is about: two tables, one truth."""
    last: dict[str, set[int | None]] = {}
    for row in capabilities.capabilities().values():
        if not row.tegra:
            last.setdefault(row.architecture, set()).add(row.last_branch)
    compared = 0
    for generation in kernel_log.generations():
        for architecture in last.keys() & {generation.name, *generation.name.split(" or ")}:
            compared += 1
            assert generation.last_branch == max(last[architecture], key=lambda branch: branch or 9999), generation
        if generation.first_branch and generation.last_branch:
            assert generation.first_branch < generation.last_branch, generation
    assert compared >= 10


def test_products_of_a_capability_are_known_by_name_with_it() -> None:
    for row in capabilities.capabilities().values():
        for product in row.products:
            named = gpus.find(product)
            assert named is None or named.capability in (row.capability, row.now), (product, row.capability)


def test_what_runs_by_family_runs_by_the_general_rule_too() -> None:
    for row in capabilities.capabilities().values():
        for member in row.family:
            assert member.major == (row.now or row.capability).major and member >= (row.now or row.capability)


def test_the_last_branch_runs_what_the_last_toolkit_makes() -> None:
    for row in capabilities.capabilities().values():
        if row.last_branch and row.last_toolkit:
            assert kb.branches()[row.last_branch].cuda.major >= row.last_toolkit.major, row


def test_forward_packages_are_newer_than_their_bases() -> None:
    for row in forward.packages().values():
        assert row.cuda in toolkits.toolkits(), row
        for branch in row.branches:
            assert kb.branches()[branch].cuda < row.cuda, (row, branch)
    for library in forward.libraries():
        assert kb.branches()[library.libcuda.branch].cuda == library.cuda, library
    for jetson in forward.jetsons():
        assert all(package > jetson.cuda for package in jetson.packages), jetson
        assert {jetson.cuda, *jetson.packages} <= set(toolkits.toolkits()), jetson
    assert sorted(forward.brands()) == list(range(1, 20)), "NVML_BRAND_QUADRO is 1, NVML_BRAND_NVIDIA_NPU is 19"
    assert {row.supported for row in forward.brands().values()} == {"yes", "no", "some", "unknown"}


# -- frameworks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", BUILDS, ids=name)
def test_a_build_is_possible(row: frameworks.Build) -> None:
    """Its CUDA exists, and that CUDA can compile for its architectures."""
    named = [CudaVersion.parse(part) for part in row.cuda.split("-") if "." in part]
    assert None not in named and set(named) <= {*toolkits.toolkits()}, row.cuda
    assert not row.cuda or (row.cuda_majors and all(10 <= major <= 13 for major in row.cuda_majors))
    newest = named[-1] if named else None
    for architecture in (*row.sm, *row.sm_aarch64, *row.ptx):
        assert architecture in capabilities.capabilities(), architecture
        if newest:
            judged = capabilities.toolkit_compiles(newest, architecture)
            assert judged.holds, judged.because
    assert row.sm == tuple(sorted(row.sm)) and row.sm_aarch64 == tuple(sorted(row.sm_aarch64))
    assert row.driver is None or row.driver.branch in kb.branches()
    if row.driver and row.cuda_majors:
        assert row.driver.branch >= kb.families()[row.cuda_majors[0]].driver_floor.branch
    assert bool(row.pins) or not row.extra, "an extra without what it brings"
    assert not row.ptx or row.ptx_known or row.confidence


def test_a_variant_of_torch_names_its_cuda_and_pypi_has_one() -> None:
    rows = frameworks.builds("torch")
    for row in rows:
        assert row.variant == "cu" + row.cuda.replace(".", ""), row
    for version in {row.version for row in rows}:
        assert [row.pypi for row in rows if row.version == version].count(True) == 1, version


def test_vllm_has_the_cuda_of_the_torch_that_it_pins() -> None:
    for row in frameworks.builds("vllm"):
        torch = frameworks.build("torch", row.torch)
        assert torch and torch.cuda == row.cuda, row


def test_the_build_of_a_version() -> None:
    assert frameworks.build("torch", "2.14.1+cu126") == frameworks.build("torch", "2.14.1", "cu126")
    assert frameworks.build("torch", "2.14.1").cuda == "13.0"  # type: ignore[union-attr]
    assert frameworks.build("torch", "2.14.1", "cu999") is None
    assert frameworks.build("torch", "99.0") is None
    assert frameworks.build("nothing", "1.0") is None
    assert frameworks.build("jax", "0.9.0", "jax-cuda13-plugin").cuda_majors == (13,)  # type: ignore[union-attr]


def test_cudnn_knows_its_drivers_and_gpus() -> None:
    for row in frameworks.cudnn():
        assert row.driver.branch in kb.branches(), row
        assert set(row.sm) <= set(capabilities.capabilities()), row
        assert tuple(map(int, row.first.split("."))) <= tuple(map(int, row.last.split("."))), row


# -- libraries ---------------------------------------------------------------------------------------------------------


def test_a_soname_that_tells_the_cuda_major_belongs_to_one() -> None:
    for stem in kb.sonames():
        shipped = [row for row in packages.wheels() if row.soname.startswith(f"{stem.stem}.so.")]
        majors = {row.soname: {other.cuda for other in shipped if other.soname == row.soname} for row in shipped}
        for soname, found in majors.items():
            number = int(soname.split(".so.")[1].split(".")[0])
            if stem.telling_major:
                assert found == {number}, f"{soname} is said to tell its CUDA major"
        if not stem.telling_major and majors:
            telling = all(found == {int(soname.split(".so.")[1].split(".")[0])} for soname, found in majors.items())
            assert not telling, f"{stem.stem} tells its CUDA major after all"


def test_wheels_are_found_by_what_they_ship() -> None:
    assert [row.cuda for row in packages.wheels_with("libcusparse.so.12")] == [12, 13]
    assert [row.wheel for row in packages.wheels_with("libcublasLt.so.13")] == ["nvidia-cublas"]
    assert packages.wheels_with("libcuda.so.1") == ()
    for row in packages.wheels():
        suffix = re.search(r"-cu(\d+)$", row.wheel)
        assert int(suffix[1]) == row.cuda if suffix else row.cuda == 13, row
        assert row.folder.startswith("nvidia/"), row


# -- codes -------------------------------------------------------------------------------------------------------------


def test_every_code_has_its_names_and_a_meaning() -> None:
    for row in kb.cuda_codes().values():
        assert row.meaning, row
        assert row.name.startswith(("CUDA_ERROR_", "cudaError", "CUDA_SUCCESS")), row
        assert not row.runtime or row.runtime.startswith("cuda"), row
    for row in kb.nvml_codes().values():
        assert row.meaning and row.name.startswith("NVML_"), row
    names = [row.name for row in (*kb.cuda_codes().values(), *kb.nvml_codes().values())]
    assert len(names) == len(set(names))


def test_every_word_of_the_xid_catalogue_is_explained() -> None:
    words = {word for row in xids.xids().values() for word in (row.action, row.then) if word}
    assert words == set(xids.actions())
    assert xids.xids()[79].meaning == "GPU has fallen off the bus"
    groups = {"app", "gpu", "host", "support", "workflow", "info", "unused", "other"}
    assert {row.reach for row in xids.xids().values()} <= groups


def test_node_images_have_drivers_of_known_branches() -> None:
    for row in clouds.node_images():
        assert row.drivers, row
        assert {driver.branch for driver in row.drivers} <= set(kb.branches()), row

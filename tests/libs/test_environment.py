"""All GPU libraries of an environment: which copy each name gives, and what that hides."""

from __future__ import annotations

from gpucheck.libs.environment import Environment, Named, look
from gpucheck.libs.interpreter import start_interpreter
from gpucheck.probes.python import pythons
from tests.elf.workshop import Root
from tests.libs.places import SITE, distribution, environment, python, system


def see(root: Root, **env: str) -> Environment:
    place = system(root, env)
    return look(place, pythons(place), start_interpreter(place, environment(root)))


def named(seen: Environment, soname: str) -> Named:
    (found,) = (each for each in seen.libraries if each.soname == soname)
    return found


def test_the_drivers_libraries_are_listed_even_when_absent(root: Root) -> None:
    python(root)
    seen = see(root)
    assert [each.soname for each in seen.libraries] == ["libcuda.so.1", "libnvidia-ml.so.1"]
    assert named(seen, "libcuda.so.1").plain.path is None
    assert named(seen, "libcuda.so.1").copies == ()


def test_a_copy_that_comes_first_hides_the_others(root: Root) -> None:
    python(root)
    root.lib("opt/compat/libcuda.so.1")
    root.lib("usr/lib/libcuda.so.535.161.08", soname="libcuda.so.1")
    (root.here / "usr/lib/libcuda.so.1").symlink_to("libcuda.so.535.161.08")
    found = named(see(root, LD_LIBRARY_PATH="/opt/compat"), "libcuda.so.1")
    assert (found.plain.path, found.plain.how) == ("/opt/compat/libcuda.so.1", "LD_LIBRARY_PATH")
    assert [(copy.library.path, copy.library.version, copy.how) for copy in found.copies] == [
        ("/opt/compat/libcuda.so.1", "", "LD_LIBRARY_PATH"),
        ("/usr/lib/libcuda.so.1", "535.161.08", "default"),
    ]
    assert [copy.library.path for copy in found.hidden] == ["/usr/lib/libcuda.so.1"]


def test_a_wheels_library_is_in_no_search_path(root: Root) -> None:
    python(root)
    root.lib(f"{SITE}/nvidia/cuda_runtime/lib/libcudart.so.12")
    distribution(root, "nvidia-cuda-runtime-cu12", "12.9.79", ("nvidia/cuda_runtime/lib/libcudart.so.12",))
    found = named(see(root), "libcudart.so.12")
    assert found.plain.path is None
    assert [(copy.library.owner, copy.how) for copy in found.copies] == [("nvidia-cuda-runtime-cu12 12.9.79", "")]


def test_the_version_of_another_environments_wheel_is_known(root: Root) -> None:
    python(root)
    root.lib("old/site-packages/nvidia/nvjitlink/lib/libnvJitLink.so.12")
    (root.here / "old/site-packages/nvidia_nvjitlink_cu12-12.1.105.dist-info").mkdir()
    found = named(see(root, LD_LIBRARY_PATH="/old/site-packages/nvidia/nvjitlink/lib"), "libnvJitLink.so.12")
    assert [(copy.library.owner, copy.how) for copy in found.copies] == [
        ("nvidia-nvjitlink-cu12 12.1.105", "LD_LIBRARY_PATH")
    ]


def test_the_interpreter_may_get_another_copy_than_a_plain_program(root: Root) -> None:
    """conda's python has an RPATH, which counts for whatever its modules open."""
    python(root, rpath="$ORIGIN/../lib/conda")
    root.lib("usr/lib/conda/libcudart.so.12")
    root.lib("opt/libcudart.so.12")
    found = named(see(root, LD_LIBRARY_PATH="/opt"), "libcudart.so.12")
    assert (found.plain.path, found.python.path) == (
        "/opt/libcudart.so.12",
        "/usr/bin/../lib/conda/libcudart.so.12",
    )
    assert found.python.how == "RPATH"


def test_looking_at_one_library_does_not_change_what_the_next_gets(root: Root) -> None:
    """cuBLAS needs cuBLASLt by an RPATH of its own; by its name alone, cuBLASLt is another file."""
    python(root)
    root.lib("opt/a/libcublas.so.12", "libcublasLt.so.12", rpath="$ORIGIN/../b")
    root.lib("opt/b/libcublasLt.so.12")
    root.lib("opt/a/libcublasLt.so.12")
    found = named(see(root, LD_LIBRARY_PATH="/opt/a"), "libcublasLt.so.12")
    assert found.plain.path == "/opt/a/libcublasLt.so.12"


def test_the_name_is_that_in_the_file(root: Root) -> None:
    """A file under its full version alone is still asked for by its SONAME, and not found by it."""
    python(root)
    root.lib("opt/libcublas.so.12.9.2.10", soname="libcublas.so.12")
    found = named(see(root, LD_LIBRARY_PATH="/opt"), "libcublas.so.12")
    assert found.plain.path is None
    assert [copy.library.version for copy in found.copies] == ["12.9.2.10"]

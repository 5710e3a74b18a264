"""The reader of LD_DEBUG's output, on what real dynamic linkers wrote (glibc 2.36; the paths are shortened)."""

from __future__ import annotations

import random

from gpucheck.kb.traced import is_library
from gpucheck.trace.loader_log import Attempt, Image, Request, parse


def read(text: str) -> tuple[Image, ...]:
    return parse(text.splitlines(keepends=True), is_library)


START = """\
      5151:\t
      5151:\tfile=libc.so.6 [0];  needed by ./app [0]
      5151:\tfind library=libc.so.6 [0]; searching
      5151:\t search cache=/etc/ld.so.cache
      5151:\t  trying file=/lib/x86_64-linux-gnu/libc.so.6
      5151:\t
      5151:\tfile=libc.so.6 [0];  generating link map
      5151:\t  dynamic: 0x00007f12ce3f0b60  base: 0x00007f12ce21e000   size: 0x00000000001e1f50
      5151:\t    entry: 0x00007f12ce245410  phdr: 0x00007f12ce21e040  phnum:                 14
      5151:\t
      5151:\tcalling init: /lib64/ld-linux-x86-64.so.2
      5151:\tcalling init: /lib/x86_64-linux-gnu/libc.so.6
      5151:\tinitialize program: ./app
      5151:\ttransferring control: ./app
"""


def test_a_library_that_is_opened_and_found() -> None:
    (image,) = read(
        START
        + """\
      5151:\tfile=libcuda.so.1 [0];  dynamically loaded by /usr/lib/_ctypes.so [0]
      5151:\tfind library=libcuda.so.1 [0]; searching
      5151:\t search path=/drv/glibc-hwcaps/x86-64-v3:/drv/tls/x86_64/x86_64:/drv/tls:/drv\t\t(LD_LIBRARY_PATH)
      5151:\t  trying file=/drv/glibc-hwcaps/x86-64-v3/libcuda.so.1
      5151:\t  trying file=/drv/libcuda.so.1
      5151:\tfile=libcuda.so.1 [0];  generating link map
      5151:\tcalling init: /drv/libcuda.so.1
      5151:\topening file=/drv/libcuda.so.1 [0]; direct_opencount=1
      5151:\topening file=/drv/libcuda.so.1 [0]; direct_opencount=2
"""
    )
    attempts = (
        Attempt("/drv/glibc-hwcaps/x86-64-v3/libcuda.so.1", "LD_LIBRARY_PATH", None),
        Attempt("/drv/libcuda.so.1", "LD_LIBRARY_PATH", None),
    )
    assert image == Image(
        5151,
        "./app",
        False,
        (
            Request("libcuda.so.1", "/usr/lib/_ctypes.so", "dlopen", "loaded", "/drv/libcuda.so.1", attempts),
            Request("libcuda.so.1", None, "dlopen", "resident", "/drv/libcuda.so.1"),
        ),
        (("libcuda.so.1", "/usr/lib/_ctypes.so"),),
        ("/drv",),
        None,
    )


def test_every_list_that_is_searched_is_told_apart() -> None:
    (image,) = read(
        START
        + """\
      5151:\tfile=/x/libcublas.so.12 [0];  dynamically loaded by ./app [0]
      5151:\tfile=/x/libcublas.so.12 [0];  generating link map
      5151:\tfile=libcudart.so.12 [0];  needed by /x/libcublas.so.12 [0]
      5151:\tfind library=libcudart.so.12 [0]; searching
      5151:\t search path=/a\t\t(RPATH from file /x/libtorch.so)
      5151:\t  trying file=/a/libcudart.so.12
      5151:\t search path=/b:\t\t(LD_LIBRARY_PATH)
      5151:\t  trying file=/b/libcudart.so.12
      5151:\t  trying file=libcudart.so.12
      5151:\t search path=/c\t\t(RUNPATH from file /x/libcublas.so.12)
      5151:\t  trying file=/c/libcudart.so.12
      5151:\t search cache=/etc/ld.so.cache
      5151:\t  trying file=/cached/libcudart.so.12
      5151:\t search path=/lib:/usr/lib\t\t(system search path)
      5151:\t  trying file=/lib/libcudart.so.12
      5151:\t  trying file=/usr/lib/libcudart.so.12
"""
    )
    _, request = image.requests
    assert [(attempt.path, attempt.how, attempt.owner) for attempt in request.attempts] == [
        ("/a/libcudart.so.12", "RPATH", "/x/libtorch.so"),
        ("/b/libcudart.so.12", "LD_LIBRARY_PATH", None),
        ("libcudart.so.12", "LD_LIBRARY_PATH", None),
        ("/c/libcudart.so.12", "RUNPATH", "/x/libcublas.so.12"),
        ("/cached/libcudart.so.12", "ld.so.cache", None),
        ("/lib/libcudart.so.12", "default", None),
        ("/usr/lib/libcudart.so.12", "default", None),
    ]
    assert (request.outcome, request.path, request.edge) == ("open", None, "needed")


def test_an_opening_within_an_opening_that_fails() -> None:
    """The constructor of a library opens another one that is not there; then the outer call ends."""
    (image,) = read(
        START
        + """\
      5151:\tfile=/x/libcublasLt.so.13 [0];  dynamically loaded by ./app [0]
      5151:\tfile=/x/libcublasLt.so.13 [0];  generating link map
      5151:\tcalling init: /x/libcublasLt.so.13
      5151:\topening file= [0]; direct_opencount=1
      5151:\tfile=libcuda.so.1 [0];  dynamically loaded by /x/libcublasLt.so.13 [0]
      5151:\tfind library=libcuda.so.1 [0]; searching
      5151:\t search cache=/etc/ld.so.cache
      5151:\t search path=/lib\t\t(system search path)
      5151:\t  trying file=/lib/libcuda.so.1
      5151:\topening file=/x/libcublasLt.so.13 [0]; direct_opencount=1
"""
    )
    outer, inner = image.requests
    assert (outer.outcome, outer.path) == ("loaded", "/x/libcublasLt.so.13")
    assert (inner.outcome, inner.path, inner.requester) == ("open", None, "/x/libcublasLt.so.13")


def test_a_file_that_lacks_a_symbol() -> None:
    (image,) = read(
        START
        + """\
      5151:\tfile=./libcusparse.so.12 [0];  dynamically loaded by ./app [0]
      5151:\tfile=./libcusparse.so.12 [0];  generating link map
      5151:\t./libcusparse.so.12: error: symbol lookup error: undefined symbol: __nvJitLinkAddData_12_1, version libnvJitLink.so.12 (fatal)
      5151:\tfile=./libcusparse.so.12 [0];  destroying link map
      5151:\t./app: error: symbol lookup error: undefined symbol: nosuch (fatal)
      5151:\tcalling fini:  [0]
"""
    )
    (request,) = image.requests
    assert request.fatal == (
        "./libcusparse.so.12: undefined symbol: __nvJitLinkAddData_12_1, version libnvJitLink.so.12"
    )
    assert image.last_error is None


def test_a_file_that_needs_what_is_not_there() -> None:
    (image,) = read(
        START
        + """\
      5151:\tfile=/dd/libcublas.so.12 [0];  dynamically loaded by ./app [0]
      5151:\tfile=/dd/libcublas.so.12 [0];  generating link map
      5151:\tfile=libdeep.so.1 [0];  needed by /dd/libcublas.so.12 [0]
      5151:\tfind library=libdeep.so.1 [0]; searching
      5151:\t search cache=/etc/ld.so.cache
      5151:\tfile=/dd/libcublas.so.12 [0];  destroying link map
"""
    )
    (request,) = image.requests
    assert request.fatal == "libdeep.so.1: cannot open shared object file, needed by /dd/libcublas.so.12"


def test_a_program_that_ends_with_an_error() -> None:
    (image,) = read(START + "      5151:\t./app: error: symbol lookup error: undefined symbol: cuInit (fatal)\n")
    assert image.last_error == "./app: undefined symbol: cuInit"


def test_another_program_in_the_same_process_is_another_image() -> None:
    images = read(START + START.replace("./app", "other") + START.replace("./app", "other"))
    assert [image.program for image in images] == ["./app", "other", "other"]


def test_a_forked_child_writes_into_its_parents_file() -> None:
    child = """\
      5192:\tfile=libnvidia-ml.so.1 [0];  dynamically loaded by /usr/lib/_ctypes.so [0]
      5192:\tfind library=libnvidia-ml.so.1 [0]; searching
"""
    first, second = read(START + child)
    assert (first.pid, first.forked, second.pid, second.forked, second.program) == (5151, False, 5192, True, "./app")
    assert [request.soname for request in second.requests] == ["libnvidia-ml.so.1"]


def test_a_line_within_a_line() -> None:
    """Search paths are written piece by piece; the child writes in between."""
    first, second = read(
        START
        + "      5151:\tfile=libcuda.so.1 [0];  dynamically loaded by ./app [0]\n"
        + "      5151:\t search path=/x86_64:/a      5192:\tfile=libnvidia-ml.so.1 [0];  dynamically loaded by ./app [0]\n"
        + ":/b\t\t(LD_LIBRARY_PATH)\n"
        + "      5151:\t  trying file=/a/libcuda.so.1\n"
    )
    assert [request.soname for request in first.requests] == ["libcuda.so.1"]
    assert [request.soname for request in second.requests] == ["libnvidia-ml.so.1"]


def test_an_empty_element_at_the_end_of_a_path_is_no_other_process() -> None:
    (image,) = read(START + "      5151:\t search path=/lib/x86_64:\t\t(RUNPATH from file /x/libnvrtc.so.12)\n")
    assert image.pid == 5151


def test_what_does_not_matter_is_not_kept() -> None:
    (image,) = read(START)
    assert image.requests == ()
    (image,) = read(START + "      5151:\tfile=/x/_ctypes.so [0];  dynamically loaded by ./app [0]\n")
    assert (image.requests, image.opened) == ((), (("/x/_ctypes.so", "./app"),))


def test_a_name_tried_without_end_keeps_a_bounded_number_of_attempts() -> None:
    def lines() -> object:
        yield "  1:\tfile=libcuda.so.1 [0];  dynamically loaded by app [0]\n"
        for number in range(50_000):
            yield f"  1:\t  trying file=/{number}/libcuda.so.1\n"

    (image,) = parse(lines(), is_library)  # type: ignore[arg-type]
    (request,) = image.requests
    assert len(request.attempts) + request.dropped == 50_000
    assert len(request.attempts) <= 2_000


def test_a_log_that_is_cut_off_anywhere_still_reads() -> None:
    text = START + "      5151:\tfile=libcuda.so.1 [0];  dynamically loaded by ./app [0]\n" * 3
    for _ in range(200):
        images = read(text[: random.randrange(len(text))])
        assert len(images) <= 1


def test_a_relocation_dependency_is_no_request() -> None:
    text = START + "      5151:\tfile=/x/libtorch.so [0];  needed by /x/libc10.so [0] (relocation dependency)\n"
    assert [image.requests for image in read(text)] == [()]

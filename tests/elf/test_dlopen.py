"""What dlopen(3) gives: each test's name is a sentence about it, checked against the real one."""

from __future__ import annotations

from tests.elf.workshop import Workshop, run


def check(workshop: Workshop, *names: str, rpath: str | None = None, needs: tuple[str, ...] = ()) -> list[str | None]:
    """Open names one after the other in one process; ``@NAME`` is opened too and is the caller from then on."""
    program = workshop.real_program("opener", *needs, rpath=rpath)
    process = workshop.predict(program)
    predicted: list[tuple[str, str]] = []
    caller = None
    for name in map(workshop.text, names):
        found = process.dlopen(name.lstrip("@"), caller)
        predicted.append((name, "not found" if found.fatal or not found.path else found.path))
        if name.startswith("@"):
            caller = next(item for item in process.objects if item.path == found.path)
    stdout, _ = run(program, *map(workshop.text, names), env=workshop.environment(), cwd=workshop.cwd or workshop.here)
    observed = [tuple(line.split("\t")) for line in stdout.splitlines()]
    assert [(name, path if path == "not found" else workshop.absolute(path)) for name, path in observed] == predicted
    return [None if path == "not found" else workshop.relative(path) for _, path in predicted]


def test_a_path_is_opened(workshop: Workshop) -> None:
    workshop.lib("lib/libx.so")
    assert check(workshop, "{here}/lib/libx.so", "lib/libx.so", "./lib/libx.so") == ["lib/libx.so"] * 3


def test_ld_library_path_counts(workshop: Workshop) -> None:
    workshop.lib("env/libx.so")
    workshop.env["LD_LIBRARY_PATH"] = "{here}/env"
    assert check(workshop, "libx.so", "liby.so") == ["env/libx.so", None]


def test_the_rpath_of_the_program_counts(workshop: Workshop) -> None:
    workshop.lib("lib/libx.so")
    assert check(workshop, "libx.so", rpath="{here}/lib") == ["lib/libx.so"]


def test_the_runpath_of_the_caller_counts(workshop: Workshop) -> None:
    workshop.lib("caller/libcaller.so", runpath="$ORIGIN", code="caller")
    workshop.lib("caller/libx.so")
    assert check(workshop, "libx.so", "@{here}/caller/libcaller.so", "libx.so") == [
        None,
        "caller/libcaller.so",
        "caller/libx.so",
    ]


def test_the_rpath_of_the_caller_beats_ld_library_path(workshop: Workshop) -> None:
    workshop.lib("caller/libcaller.so", rpath="$ORIGIN", code="caller")
    workshop.lib("caller/libx.so")
    workshop.lib("env/libx.so")
    workshop.env["LD_LIBRARY_PATH"] = "{here}/env"
    assert check(workshop, "@{here}/caller/libcaller.so", "libx.so")[1] == "caller/libx.so"


def test_ld_library_path_beats_the_runpath_of_the_caller(workshop: Workshop) -> None:
    workshop.lib("caller/libcaller.so", runpath="$ORIGIN", code="caller")
    workshop.lib("caller/libx.so")
    workshop.lib("env/libx.so")
    workshop.env["LD_LIBRARY_PATH"] = "{here}/env"
    assert check(workshop, "@{here}/caller/libcaller.so", "libx.so")[1] == "env/libx.so"


def test_the_rpath_of_the_caller_is_not_handed_to_what_it_opens(workshop: Workshop) -> None:
    workshop.lib("caller/libcaller.so", rpath="$ORIGIN", code="caller")
    workshop.lib("caller/libx.so", "liby.so")
    workshop.lib("caller/liby.so")
    assert check(workshop, "@{here}/caller/libcaller.so", "libx.so")[1] is None


def test_the_rpath_of_the_program_is_handed_to_what_is_opened(workshop: Workshop) -> None:
    workshop.lib("lib/libx.so", "liby.so")
    workshop.lib("lib/liby.so")
    assert check(workshop, "libx.so", "liby.so", rpath="{here}/lib") == ["lib/libx.so", "lib/liby.so"]


def test_a_runpath_of_what_is_opened_shuts_out_the_rpath_of_the_program(workshop: Workshop) -> None:
    workshop.lib("lib/libx.so", "liby.so", runpath="{here}/none")
    workshop.lib("lib/liby.so")
    assert check(workshop, "libx.so", rpath="{here}/lib") == [None]


def test_a_library_opened_by_path_satisfies_its_soname_from_then_on(workshop: Workshop) -> None:
    workshop.lib("wheel/libcudart.so.12")
    workshop.lib("toolkit/libcudart.so.12")
    workshop.env["LD_LIBRARY_PATH"] = "{here}/toolkit"
    assert check(workshop, "{here}/wheel/libcudart.so.12", "libcudart.so.12") == ["wheel/libcudart.so.12"] * 2


def test_two_copies_opened_by_path_are_both_loaded_and_the_first_answers(workshop: Workshop) -> None:
    workshop.lib("one/libx.so")
    workshop.lib("two/libx.so")
    assert check(workshop, "{here}/one/libx.so", "{here}/two/libx.so", "libx.so") == [
        "one/libx.so",
        "two/libx.so",
        "one/libx.so",
    ]


def test_opening_fails_when_something_needed_is_missing(workshop: Workshop) -> None:
    workshop.lib("lib/libx.so", "liby.so", runpath="$ORIGIN")
    workshop.lib("lib/liby.so", "libnowhere.so")
    assert check(workshop, "{here}/lib/libx.so", "{here}/lib/liby.so") == [None, None]


def test_what_a_failed_opening_loaded_is_gone(workshop: Workshop) -> None:
    workshop.lib("bad/libx.so", "liby.so", "libnowhere.so", rpath="$ORIGIN")
    workshop.lib("bad/liby.so")
    workshop.lib("env/liby.so")
    workshop.env["LD_LIBRARY_PATH"] = "{here}/env"
    assert check(workshop, "{here}/bad/libx.so", "liby.so") == [None, "env/liby.so"]


def test_a_program_cannot_be_opened(workshop: Workshop) -> None:
    workshop.program("libm.so.6", path="spare/program")
    assert check(workshop, "{here}/spare/program") == [None]


def test_a_library_linked_with_nodlopen_cannot_be_opened(workshop: Workshop) -> None:
    workshop.lib("lib/libx.so", flags=("-z", "nodlopen"))
    assert check(workshop, "{here}/lib/libx.so") == [None]


def test_what_the_program_needs_is_resident(workshop: Workshop) -> None:
    workshop.lib("lib/libx.so")
    workshop.lib("env/libx.so")
    workshop.env["LD_LIBRARY_PATH"] = "{here}/env"
    assert check(workshop, "libx.so", rpath="{here}/lib", needs=("libx.so",)) == ["lib/libx.so"]


def test_a_truncated_library_cannot_be_opened_and_hides_the_next(workshop: Workshop) -> None:
    whole = workshop.lib("one/libx.so")
    whole.write_bytes(whole.read_bytes()[:50])
    workshop.lib("two/libx.so")
    workshop.env["LD_LIBRARY_PATH"] = "{here}/one:{here}/two"
    assert check(workshop, "libx.so") == [None]

"""Write docs/corpus.md: every fixture of tests/corpus, what gpucheck names for it, and whether that is right.

``python -m ci.corpus`` looks at all of them (some minutes on one processor; a test compares the page row by row).
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.corpus.fixture import FOLDER, read  # noqa: E402
from tests.corpus.grade import Grade, grade  # noqa: E402

PAGE = ROOT / "docs/corpus.md"

TEXT = """\
# The corpus

Known failures and known-good systems, and what `gpucheck doctor` says of each. This page is generated: `make corpus`; a test
compares each row with what gpucheck says now.

A fixture is a TOML file below `tests/corpus/`: it names a system (`system`, `gpus`, `driver`, `packages`, ...), which is then built
healthy, and what is different about it. Its files are written below a folder and read by gpucheck's own probes, its libraries are
ELF files that the real dynamic linker reads, and what the driver answers comes from the [fake driver](fake-driver.md), asked by the
same child process that asks a real one. {probed} of the {all} fixtures go through the probes in this way; {recorded} are
recorded snapshots. To add one, write a file: `tests/corpus/fixture.py` lists the keys, and a misspelt one is refused.

Right means: the first finding is of a rule that names this cause, its text says so, and its remedy holds the fix. A healthy system is
right when nothing is an error and only the listed warnings appear.

| set | fixtures | right | |
|---|---|---|---|
| [known failures](#known-failures) | {faults} | {faults_right} | {faults_share} |
| ... of these with no other error beside it | | {faults_alone} | |
| [held-out failures](#held-out-failures) | {unseen} | {unseen_right} | {unseen_share} |
| [blind failures](#blind-failures) | {blind} | {blind_right} | {blind_share} |
| [fresh failures](#fresh-failures) | {fresh} | {fresh_right} | {fresh_share} |
| [healthy systems](#healthy-systems) | {healthy} | {healthy_right} | {healthy_share} |

The held-out failures were collected while the rules were written, by somebody else, from other threads, and judged before the
authors of the rules saw them: {held_out}. The blind failures were collected after that, each written before any rule was run on
it: {blind_first}. The fresh failures came later still, from threads that nobody had looked at, again written before any rule
was run on them: {fresh_first}.

## Known failures

The 88 failures that gpucheck was asked to know.

{faults_table}
{faults_misses}
## Held-out failures

{unseen_table}
{unseen_misses}
## Blind failures

{blind_table}
{blind_misses}
## Fresh failures

{fresh_table}
{fresh_misses}
## Healthy systems

{healthy_table}"""

#: The first judgement of the held-out set, and with which rules.
HELD_OUT = (
    "14 of 47 with the rules of before the corpus, 33 of 47 with those that were written meanwhile. Of U13 and U34 the wheels were "
    "changed later to ones that are linked as their threads say"
)

#: The first judgement of the blind set, and how its fixtures differ from then: git log -p -- tests/corpus/blind.
BLIND = (
    "11 of 25 were right at the first run. Rules were then written for the others, so that today's share is no measure of what has "
    "not been seen. The fixtures changed in this: B01, B02, B03 and B25 got files that their wheels have and they lacked (RECORD, "
    "METADATA), B02 also the LD_LIBRARY_PATH of its thread; B23 has torch in the place of TensorFlow; B02, B09 and B21 may be named by "
    "one more rule each (known-bad-pair, compiler-missing, ptx-compiler-missing); B16 expects other words"
)

#: The first judgement of the fresh set.
FRESH = (
    "3 of 42 were right at the first run, one more when its fixture got the hashes that a RECORD has. Five more were named rightly in words "
    "that the fixture did not expect or after another finding (one fixture takes another spelling of the version now, one a driver that "
    "fits its torch); the rest had no rule then"
)


def row(found: Grade) -> str:
    """The line of a fixture in its table."""
    fixture = found.fixture
    title = f"{fixture.id} | {_cell(fixture.title)} | {_source(fixture.source)}"
    if not fixture.expect.root and not fixture.layer:
        warned = "; ".join(f"[{rule}](rules.md#{rule}): {why}" for rule, why in fixture.expect.warnings.items())
        return f"| {title} | {_cell(fixture.seen)} | {warned or 'nothing' if not found.wrong else found.wrong} |"
    named = f"[{found.named}](rules.md#{found.named})" if found.named else "nothing"
    if not fixture.expect.root:
        named = f"{named}, as a note: it works"
    return f"| {title} | {named} | {'yes' if not found.wrong else 'no'} |"


def _source(text: str) -> str:
    """Addresses in angle brackets, as Markdown links them; names of threads as they are."""
    return " ".join(f"<{word}>" if word.startswith("https://") else word for word in _cell(text).split(" "))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;").replace(">", "&gt;")


def page(grades: dict[str, list[Grade]]) -> str:
    """The whole page."""
    right = {kind: [found for found in each if not found.wrong] for kind, each in grades.items()}
    everything = [found for each in grades.values() for found in each]
    recorded = sum(found.fixture.kind == "snapshot" for found in everything)
    values: dict[str, object] = {
        "all": len(everything),
        "probed": len(everything) - recorded,
        "recorded": recorded,
        "held_out": HELD_OUT,
        "blind_first": BLIND,
        "fresh_first": FRESH,
        "faults_alone": sum(not found.also for found in right["faults"]),
        "healthy_table": _table(
            ("system", "what it is", "source", "why it is known to be good", "complaints"), grades["healthy"]
        ),
    }
    for kind in ("faults", "unseen", "blind", "fresh"):
        missed = [f"- **{found.fixture.id}**: {found.fixture.miss}\n" for found in grades[kind] if found.wrong]
        values[f"{kind}_misses"] = f"Not right, and why:\n\n{''.join(missed)}" if missed else ""
        values[f"{kind}_table"] = _table(("", "failure", "source", "gpucheck names", "right"), grades[kind])
    for kind, each in grades.items():
        share = f"{100 * len(right[kind]) / len(each):.0f} %"
        values |= {kind: len(each), f"{kind}_right": len(right[kind]), f"{kind}_share": share}
    return TEXT.format(**values)


def _table(heads: tuple[str, ...], grades: list[Grade]) -> str:
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *(row(found) for found in grades)]
    return "\n".join(lines) + "\n"


def judge(path: str) -> Grade:
    """One fixture, in a process of the pool."""
    return grade(read(Path(path)))


def main() -> int:
    """Look at all, write the page."""
    grades: dict[str, list[Grade]] = {}
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        for kind in ("faults", "unseen", "blind", "fresh", "healthy"):
            paths = sorted(str(path) for path in (FOLDER / kind).glob("*.toml"))
            grades[kind] = list(pool.map(judge, paths))
            print(f"{kind}: {sum(not found.wrong for found in grades[kind])} of {len(paths)} right")
    PAGE.write_text(page(grades), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

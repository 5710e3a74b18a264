"""GPU code in an image: which file of which package has machine code and PTX for which GPUs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from gpucheck.contents.libraries import is_toolkit_library
from gpucheck.contents.records import Code
from gpucheck.elf import ElfError, read_elf
from gpucheck.elf.fatbin import RELOCATABLE, of_targets, scan, summarize
from gpucheck.elf.sections import read_sections
from gpucheck.libs.targets import Installed
from gpucheck.record import dataclass
from gpucheck.system import System

#: Where programs and libraries that no Python distribution brings are put in images.
PLACES = (
    "/usr/local/bin/*",
    "/usr/local/lib/*.so*",
    "/opt/*/bin/*",
    "/opt/*/lib/*.so*",
    "/opt/*/*.so*",
    "/app/*",
    "/app/*/*.so*",
    "/workspace/*",
    "/srv/*",
)
#: A folder of programs has hundreds of files; what is beyond was not looked into, and that is said.
MAX_FILES = 2000


@dataclass(frozen=True, slots=True)
class Found:
    """The GPU code of one file, with what is needed to add it to that of others."""

    code: Code
    containers: Counter[frozenset[str]]


#: What was seen of a file's fat binaries when its layer was read; None where no layer was.
Known = Callable[[str], Sequence[tuple[int, str]] | None]


def find_code(
    system: System, known: Known, installed: Sequence[Installed], others: Sequence[str], unread: list[str]
) -> tuple[Found, ...]:
    """The GPU code of distributions, CUDA's libraries (``others``) and programs, by owner and path."""
    found: dict[str, Found] = {}
    paths = [(path, f"{each.name} {each.version}".rstrip()) for each in installed for path in each.libraries]
    paths += [(path, "") for path in others]
    placed = [(path, "") for pattern in PLACES for path in system.glob(pattern)]
    if len(placed) > MAX_FILES:
        unread.append(f"{len(placed) - MAX_FILES} files below {', '.join(dict.fromkeys(PLACES))}: too many")
    for path, owner in (*paths, *placed[:MAX_FILES]):
        real = system.resolve(path)
        if real is None or real in found:
            continue
        try:
            entry = _read(system, known, path, real, owner)
        except ElfError as error:
            # A folder of programs has scripts; what ends in .so and is no ELF file is told.
            if ".so" in path.rsplit("/", 1)[-1] and owner:
                unread.append(str(error))
            continue
        except OSError as error:
            unread.append(f"{path}: {error.strerror or error}")
            continue
        if entry:
            found[real] = entry
    return tuple(sorted(found.values(), key=lambda entry: (entry.code.owner, entry.code.path)))


def _read(system: System, known: Known, path: str, real: str, owner: str) -> Found | None:
    if system.status(real).kind != "file" or system.read(real, 4) != b"\x7fELF":
        return None
    seen = known(real)
    containers = _scan(system, path, real) if seen is None else of_targets(seen)
    summary = summarize(containers)
    if summary is None:
        return None
    return Found(Code(path, owner, summary.containers, summary.targets, summary.served), containers)


def _scan(system: System, path: str, real: str) -> Counter[frozenset[str]]:
    sections = {section.name for section in read_sections(system, read_elf(system, real))}
    # Who has fat binaries in other places has some in these too; libcufft of CUDA 13 is the one that has not.
    return scan(system, real) if sections & {".nv_fatbin", RELOCATABLE} or is_toolkit_library(path) else Counter()


def together(found: Sequence[Found]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(owner or path, path of the file with most code, targets) of each package, and of each file that no package owns.

    NVIDIA's own libraries are left out: they hold kernels for chosen GPUs beside general ones, and NVIDIA's support tables, not
    their number, tell where they run.
    """
    by_owner: dict[str, list[Found]] = {}
    for entry in found:
        if not is_toolkit_library(entry.code.path) and not entry.code.owner.startswith("nvidia-"):
            by_owner.setdefault(entry.code.owner or entry.code.path, []).append(entry)
    for owner, entries in by_owner.items():
        total: Counter[frozenset[str]] = Counter()
        for entry in entries:
            total += entry.containers
        summary = summarize(total)
        most = max(entries, key=lambda entry: entry.code.containers)
        if summary:
            yield owner, most.code.path, summary.served

"""RPM's database of installed packages, as far as Python can read it: the one in SQLite, RPM's own from 4.16 on."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from gpucheck.facts import Seen, SystemPackage, Unseen, Why
from gpucheck.system import System

if TYPE_CHECKING:
    import sqlite3

#: /usr/lib/sysimage/rpm on Fedora and SUSE, where /var/lib/rpm is a link to it.
FOLDERS: Final = ("/var/lib/rpm", "/usr/lib/sysimage/rpm")
SQLITE: Final = "rpmdb.sqlite"
#: Berkeley DB of RHEL 8 and Amazon Linux 2, SUSE's ndb: https://rpm.org/docs/latest/man/rpm-macros.7 (_db_backend).
OTHERS: Final = {"Packages": "Berkeley DB", "Packages.db": "ndb"}
#: A full desktop's has 100 MB, a CUDA image's 10 to 30.
MAX_SIZE: Final = 32 << 20
#: Instructions of SQLite's own machine at a time, and how many times: ten thousand packages take about one million.
STEP: Final = 100_000
MAX_STEPS: Final = 1000


def rpm_packages(system: System, tells: Callable[[str], object]) -> Seen[tuple[SystemPackage, ...]] | Unseen:
    """The packages whose names ``tells`` takes; ABSENT where RPM has no database, UNREADABLE where it is of another kind."""
    for folder in FOLDERS:
        path = f"{folder}/{SQLITE}"
        try:
            size = system.status(path).size
        except OSError:
            continue
        if size > MAX_SIZE:
            return Unseen(Why.UNREADABLE, (path,), f"{path} has {size >> 20} MB, more than {MAX_SIZE >> 20}")
        if _size(system, f"{path}-wal"):
            return Unseen(Why.UNREADABLE, (path,), f"{path} has changes that are still in {SQLITE}-wal")
        try:
            return Seen(tuple(sorted(_read(system.read(path, MAX_SIZE), tells), key=lambda each: each.name)), path)
        except (OSError, ImportError, ValueError, struct.error) as error:
            return Unseen(Why.UNREADABLE, (path,), f"{path}: {error}")
    for folder in FOLDERS:
        for name, kind in OTHERS.items():
            if _size(system, f"{folder}/{name}"):
                return Unseen(Why.UNREADABLE, (f"{folder}/{name}",), f"RPM's database is {kind}, which is not read")
    return Unseen(Why.ABSENT, FOLDERS, "RPM has no database here")


def _size(system: System, path: str) -> int:
    try:
        return system.status(path).size
    except OSError:
        return 0


def _read(data: bytes, tells: Callable[[str], object]) -> Iterator[SystemPackage]:
    """From the tables of lib/backend/sqlite.c: Name has a row for each package, Packages its header."""
    import sqlite3
    from contextlib import closing
    from pathlib import Path
    from tempfile import TemporaryDirectory

    try:
        with TemporaryDirectory() as folder:
            path = Path(folder, SQLITE)
            path.write_bytes(data)
            # immutable: it cannot change, so that neither a lock nor a -wal file is looked for.
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as database:
                _expect_tables(database)
                # The pages of a damaged file may lead in a circle.
                steps = iter(range(MAX_STEPS))
                database.set_progress_handler(lambda: next(steps, None) is None, STEP)
                for name, blob in database.execute("SELECT key, blob FROM Name JOIN Packages USING (hnum)"):
                    if isinstance(name, str) and isinstance(blob, bytes) and tells(name):
                        yield SystemPackage(name, parse_version(blob), "installed")
    except sqlite3.Error as error:
        raise ValueError(str(error)) from error


def _expect_tables(database: sqlite3.Connection) -> None:
    """An image brings the file: a view or a computed column could run on for ever, or make gigabytes of nothing."""
    rows = database.execute(
        "SELECT type, rootpage, sql FROM sqlite_master WHERE name IN ('Name', 'Packages')"
    ).fetchall()
    plain = [kind == "table" and root and not re.search(r"\bAS\b", str(sql), re.IGNORECASE) for kind, root, sql in rows]
    if not all(plain):
        raise ValueError("Name and Packages are not the two tables that RPM makes")


EPOCH, VERSION, RELEASE = 1003, 1001, 1002


def parse_version(header: bytes) -> str:
    """``3:580.95.05-1.el9`` of a header: two counts, an index of (tag, type, offset, count), all big-endian, and the data.

    Source: https://rpm-software-management.github.io/rpm/manual/format_header.html; in the database it has no magic number.
    """
    entries, length = struct.unpack_from(">II", header) if len(header) >= 8 else (0, 0)
    if not 0 < entries <= len(header) // 16 or 8 + 16 * entries + length != len(header):
        raise ValueError("a header of a package is damaged")
    data = header[8 + 16 * entries :]
    places = {tag: offset for tag, _, offset, _ in struct.iter_unpack(">IIII", header[8 : 8 + 16 * entries])}

    def text(tag: int) -> str:
        return data[places[tag] :].split(b"\0", 1)[0].decode("utf-8", "replace") if tag in places else ""

    epoch = struct.unpack_from(">I", data, places[EPOCH])[0] if places.get(EPOCH, length) + 4 <= length else 0
    return f"{f'{epoch}:' if epoch else ''}{text(VERSION)}-{text(RELEASE)}"

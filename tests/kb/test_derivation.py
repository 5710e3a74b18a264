"""ci/knowledge: rows from wheels. A real pip and real ranges over HTTP, on an index with wheels made here."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import re
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci.knowledge import __main__ as knowledge
from ci.knowledge import index, wheel
from ci.knowledge.rows import merge, parse_row, rewrite, spell_row
from tests.needs import missing

TABLE = """# Builds of torch.

every.build.library = "torch"
every.build.checked = 2026-11-23

build = [
  { version = "8.0.0", variant = "cu999", cuda = "99.9", pypi = true, source = "https://pypi.org/project/torch/8.0.0/" },
  { version = "9.0.0", variant = "cu118", cuda = "11.8", source = "https://example.org/", note = "Not on PyPI." },
  { version = "9.0.0", variant = "cu128", cuda = "12.8", pypi = true, cudnn = "1.0", sm = ["7.5"], python = ">=3.9", source = "https://pypi.org/project/torch/9.0.0/" },
]
"""

COMPARED = """  { version = "9.0.0", variant = "cu128", cuda = "12.8", pypi = true, cudnn = "9.1.0.70", sm = ["7.5", "9.0"], python = ">=3.9", nccl = "2.27.3", triton = "~=3.8.0", ptx = ["12.0"], source = "https://pypi.org/project/torch/9.0.0/" },"""


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Files, or the range of one that is asked for: RFC 9110, section 14."""

    def do_GET(self) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if not asked or not path.is_file():
            super().do_GET()
            return
        data = path.read_bytes()[int(asked[1]) : int(asked[2]) + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *values: object) -> None:
        """Nothing."""


def make_wheel(folder: Path, version: str, cuda: str | None, flags: str, metadata: str) -> None:
    path = folder / f"torch-{version}-cp312-cp312-manylinux_2_28_x86_64.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("torch/version.py", f"__version__ = '{version}'\ncuda: Optional[str] = {cuda!r}\n")
        made.writestr("torch/lib/libtorch_python.so", b"\x7fELF" + bytes(5000) + flags.encode() + bytes(5000))
        made.writestr(
            f"torch-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n{metadata}"
        )
        made.writestr(
            f"torch-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: cp312-cp312-manylinux_2_28_x86_64\n"
        )
        made.writestr(f"torch-{version}.dist-info/RECORD", "")


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A table torch.toml, and an index that has torch 8.0.0 without CUDA, 9.0.0 and 9.1.0."""
    if importlib.util.find_spec("pip") is None:
        missing("rows of the knowledge base from wheels", "run the tests with a Python that has pip, as make test does")
    folder = tmp_path / "index" / "torch"
    folder.mkdir(parents=True)
    pins = (
        "Requires-Python: >=3.9\nRequires-Dist: nvidia-cudnn-cu12 (==9.1.0.70) ; platform_system == 'Linux'\n"
        "Requires-Dist: nvidia-nccl-cu12==2.27.3; platform_system == 'Linux'\nRequires-Dist: triton~=3.8.0\n"
        "Requires-Dist: nvidia-nccl-cu99==1.0; extra == 'other'\n"
    )
    make_wheel(folder, "8.0.0", None, "", "")
    make_wheel(folder, "9.0.0", "12.8", "sm_75 sm_90 compute_120", pins)
    make_wheel(folder, "9.1.0", "13.0", "sm_75 sm_80", "Requires-Python: >=3.10\n")
    names = sorted(path.name for path in folder.iterdir())
    (folder / "index.html").write_text("".join(f'<a href="{name}">{name}</a>\n' for name in names))
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Ranges, directory=str(tmp_path / "index"))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for cached in (index.versions, index.release, wheel.archive):
        cached.cache_clear()
    path = tmp_path / "kb" / "torch.toml"
    path.parent.mkdir()
    path.write_text(TABLE)
    monkeypatch.setattr(knowledge, "FOLDER", path.parent)
    yield path
    server.shutdown()
    server.server_close()


def run(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["python -m ci.knowledge", *arguments])
    return knowledge.main()


def test_a_table_is_compared_with_the_index(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--check", "torch", monkeypatch=monkeypatch) == 1
    said = capsys.readouterr()
    assert said.err == (
        "torch: not compared: torch 8.0.0: version.py names no CUDA\ntorch: 2 rows compared with their wheels\n"
    )
    changed = [line for line in said.out.splitlines() if line.startswith(("+ ", "- "))]
    assert changed[0] == "-" + TABLE.splitlines()[8]
    assert changed[1] == "+" + COMPARED
    assert re.fullmatch(
        r'\+  \{ version = "9.1.0", pypi = true, variant = "cu130", cuda = "13.0", sm = \["7.5", "8.0"\], python = ">=3.10", '
        r'source = "https://pypi.org/project/torch/9.1.0/", checked = \d{4}-\d\d-\d\d \},',
        changed[2],
    )
    assert table.read_text() == TABLE, "--check writes nothing"

    assert run("torch", monkeypatch=monkeypatch) == 0
    capsys.readouterr()
    assert COMPARED in table.read_text()
    assert table.read_text().startswith("\n".join(TABLE.splitlines()[:8])), "what was not compared stays as it is"
    assert run("--check", "torch", monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out == ""


def test_only_some_rows_are_compared(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--check", "--only", "cu128", "torch", monkeypatch=monkeypatch) == 1
    assert capsys.readouterr().out.count("\n+ ") == 1


def test_a_row_is_a_line() -> None:
    line = '  { version = "1", cuda = "12.8", pypi = true, sm = ["7.5"], checked = 2026-11-23, note = "a \\"b\\", c" },'
    assert spell_row(parse_row(line)) == line
    with pytest.raises(ValueError, match="no table other"):
        rewrite(TABLE, "other", dict, [])


def test_a_derived_value_goes_before_the_source_and_an_empty_one_goes_away() -> None:
    row = {"version": "1", "cudnn": "9", "source": "s", "note": "n"}
    assert list(merge(row, {"cudnn": "", "sm": ["7.5"]}).items()) == [
        ("version", "1"), ("sm", ["7.5"]), ("source", "s"), ("note", "n"),
    ]  # fmt: skip

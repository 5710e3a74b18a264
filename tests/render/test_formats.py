"""JUnit, SARIF and HTML: what the published schemas and a real browser say of them."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

from gpucheck.compat.inventory import typed
from gpucheck.compat.table import Table, tabulate
from gpucheck.engine import judge
from gpucheck.facts import Choice, Seen, Snapshot
from gpucheck.finding import Report
from gpucheck.project.observation import observe_project
from gpucheck.record import replace
from gpucheck.render import FORMATS, MATRIX_FORMATS, render, render_matrix
from gpucheck.render.printable import printable
from gpucheck.system import Rootfs
from tests.cache import cache
from tests.cli.test_commands import gpucheck
from tests.compat.contracts import compat, image, required, torch
from tests.machines import bare, driver_library, healthy, messages
from tests.machines import image as image_snapshot
from tests.needs import missing

NASTY = "\x1b[31m<script>alert(1)</script>\n\"'&\ud800\x00 \u202e"


def table() -> Table:
    """All four verdicts, notes, long names and hostile ones."""
    images = [
        image("registry.example.com/team/platform/trainer:2.14.1-cu130", torch("2.14.1+cu130")),
        image("vllm/vllm-openai:v0.15.0", torch("2.12.1+cu129"), forward=compat("575.57.08", "always"), requirements=required("12.9", 535)),
        image("app:cu126", torch("2.14.1+cu126")),
        image("web:1", gpu=False),
        image(NASTY, torch("2.14.1+cu126"), libc="musl <1.2>"),
    ]  # fmt: skip
    nodes = [
        typed("driver=550.54.15,gpu=A100-SXM4-80GB,toolkit=1.18,mode=cdi"),
        typed("name=pool-with-a-rather-long-name-for-inference,driver=580.95.05,gpu=H100,gpu=L4,gpu=V100"),
        replace(typed("driver=580.95.05,gpu=L40S"), name=NASTY, source=NASTY),
        typed("driver=470.256.02,gpu=K80"),
        typed("driver=580.95.05,gpu=FOO"),
        typed("driver=590.48.01,gpu=V100,mode=legacy"),
    ]
    return tabulate(images, nodes, ["toolkit=1.18"])


def nasty() -> Snapshot:
    """A machine whose kernel log, environment and paths were written by somebody else."""
    snapshot = bare(environment=(("CUDA_VISIBLE_DEVICES", NASTY), ("LD_LIBRARY_PATH", f"/x{NASTY}:")))
    return replace(
        snapshot, kernel=replace(snapshot.kernel, messages=messages(f"NVRM: Xid (PCI:0000:01:00): 79, {NASTY}"))
    )


def project(folder: Path) -> Snapshot:
    (folder / "Dockerfile").write_text('FROM nvidia/cuda:latest\nENV CUDA_VISIBLE_DEVICES=""\n')
    (folder / "requirements.txt").write_text("torch==2.9.0\n")
    return observe_project(Rootfs(str(folder)))


def reports(folder: Path) -> list[tuple[Report, str]]:
    return [
        (judge(healthy()), "doctor"),
        (judge(bare()), "doctor"),
        (judge(nasty()), "doctor"),
        (judge(image_snapshot()), f"image {NASTY}"),
        (judge(project(folder)), "project"),
    ]


def schema(name: str) -> Path:
    path = cache() / "schemas" / name
    if not path.exists():
        missing(f"output against {name}", "run: ci/setup/schemas.sh")
    return path


# -- JUnit -------------------------------------------------------------------------------------------------------------


def test_junit_is_what_jenkins_reads(tmp_path: Path) -> None:
    xsd = schema("junit-10.xsd")
    if not shutil.which("xmllint"):
        missing("JUnit against its schema", "apt install libxml2-utils")
    texts = [render(report, command, "junit", False) for report, command in reports(tmp_path)]
    for number, text in enumerate([*texts, render_matrix(table(), "junit", False)]):
        file = tmp_path / f"{number}.xml"
        file.write_text(text, encoding="utf-8")
        done = subprocess.run(
            ["xmllint", "--noout", "--schema", str(xsd), str(file)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_junit_fails_once_for_a_root_cause() -> None:
    report = judge(bare())
    root = ElementTree.fromstring(render(report, "doctor", "junit", False))
    (suite,) = root
    cases = {case.get("name"): case for case in suite}
    assert len(cases) == len(report.outcomes) == int(suite.get("tests") or 0)
    failed = [name for name, case in cases.items() if case.find("failure") is not None]
    assert failed == ["no-gpu"] and suite.get("failures") == "1"
    assert cases["libcuda-missing"].find("skipped").get("message") == "follows from no-gpu"
    assert "do: " in cases["no-gpu"].find("failure").text


def test_junit_has_a_case_for_each_cell() -> None:
    found = table()
    root = ElementTree.fromstring(render_matrix(found, "junit", False))
    assert [len(suite) for suite in root] == [len(found.nodes)] * len(found.images)
    counts = found.counts
    by_value = {verdict.value: count for verdict, count in counts.items()}
    assert len(root.findall(".//failure")) == by_value["incompatible"]
    assert len(root.findall(".//error")) == by_value["unknown"]


# -- SARIF -------------------------------------------------------------------------------------------------------------


def test_sarif_follows_the_published_schema(tmp_path: Path) -> None:
    validator = jsonschema.Draft7Validator(json.loads(schema("sarif-2.1.0.json").read_text()))
    texts = [render(report, command, "sarif", False) for report, command in reports(tmp_path)]
    for text in [*texts, render_matrix(table(), "sarif", False)]:
        document = json.loads(text)
        validator.validate(document)
        (run,) = document["runs"]
        for result in run["results"]:
            assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
            assert result["locations"] and result["message"]["text"]
        with pytest.raises(jsonschema.ValidationError):
            validator.validate({**document, "runs": [{**run, "results": [{"ruleId": 1}]}]})


def test_sarif_points_at_lines_of_a_project(tmp_path: Path) -> None:
    document = json.loads(render(judge(project(tmp_path)), "project", "sarif", False))
    places = [
        (place["physicalLocation"]["artifactLocation"]["uri"], place["physicalLocation"]["region"]["startLine"])
        for result in document["runs"][0]["results"]
        for place in result["locations"]
        if "physicalLocation" in place
    ]
    assert ("Dockerfile", 1) in places


def test_sarif_says_in_which_image_a_file_is() -> None:
    stub = Choice("libcuda.so.1", "/usr/local/cuda/lib64/stubs/libcuda.so.1", "LD_LIBRARY_PATH", ())
    copy = driver_library(version="", kind="stub", path=stub.path or "")
    snapshot = image_snapshot(libcuda=stub, libcuda_copies=(copy,))
    (run,) = json.loads(render(judge(snapshot), "image app:1.0", "sarif", False))["runs"]
    assert run["originalUriBaseIds"] == {"IMAGE": {"description": {"text": "the root of app:1.0"}}}
    places = [
        place["physicalLocation"]["artifactLocation"]
        for result in run["results"]
        for place in result["locations"]
        if "physicalLocation" in place
    ]
    assert {"uri": "usr/local/cuda/lib64/stubs/libcuda.so.1", "uriBaseId": "IMAGE"} in places
    assert all(result["partialFingerprints"]["gpucheck/v1"].startswith("app:1.0: ") for result in run["results"])
    suite = ElementTree.fromstring(render(judge(snapshot), "image app:1.0", "junit", False)).find("testsuite")
    assert suite is not None and suite.get("name") == "gpucheck image app:1.0"


# -- HTML --------------------------------------------------------------------------------------------------------------


def pages(folder: Path) -> list[str]:
    return [
        *(render(report, command, "html", False) for report, command in reports(folder)),
        render_matrix(table(), "html", False),
    ]


def test_a_page_needs_nothing_else(tmp_path: Path) -> None:
    for page in pages(tmp_path):
        assert re.findall(r"<(?:script|img|iframe|object|embed|base)\b|@import|url\(", page) == []
        assert {link.partition(":")[0] for link in re.findall(r'(?:src|href)="([^"#][^"]*)"', page)} <= {"data"}
        assert "\x1b" not in page and "\u202e" not in page
        assert "prefers-color-scheme:dark" in page and 'lang="en"' in page and "viewport" in page


def test_each_cell_leads_to_its_reason() -> None:
    page = render_matrix(table(), "html", False)
    links, anchors = set(re.findall(r'href="#([^"]+)"', page)), re.findall(r'id="([^"]+)"', page)
    assert links and links <= set(anchors) and len(anchors) == len(set(anchors)) == len(table().reasons())
    for word in ("compatible", "conditional", "incompatible", "unknown"):
        assert f" {word}</b>" in page


def browse(page: str, folder: Path, width: int, *options: str) -> subprocess.CompletedProcess[str]:
    """Headless Chromium on a copy of the page that says in its own tree how wide it became."""
    chromium = shutil.which("chromium")
    if chromium is None:
        missing("the HTML page in a browser", "apt install chromium")
    measure = (
        "<script>document.documentElement.dataset.measured=document.documentElement.scrollWidth+'/'+innerWidth</script>"
    )
    file = folder / "page.html"
    file.write_text(page.replace("</body>", f"{measure}</body>"), encoding="utf-8")
    return subprocess.run(
        [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
            f"--user-data-dir={folder / 'profile'}", f"--window-size={width},1400", "--enable-logging=stderr", "--v=0", *options, file.as_uri(),
        ],
        capture_output=True, text=True, errors="replace", timeout=180, check=True,
    )  # fmt: skip


@pytest.mark.parametrize(("width", "which"), [(1280, "matrix"), (500, "matrix"), (1280, "report")])
def test_a_page_in_a_browser(tmp_path: Path, width: int, which: str) -> None:
    """No complaint, the text is there, and nothing runs out of the window. 500 is Chromium's smallest window."""
    page = (
        render_matrix(table(), "html", False) if which == "matrix" else render(judge(nasty()), "doctor", "html", False)
    )
    done = browse(page, tmp_path, width, "--dump-dom")
    assert "CONSOLE" not in done.stderr, done.stderr
    wide, window = map(int, re.search(r'data-measured="(\d+)/(\d+)"', done.stdout).groups())
    assert wide <= window == width
    shown = re.sub(r"<style>.*?</style>|<[^>]+>", " ", done.stdout, flags=re.DOTALL)
    for text in ("gpucheck", "because", "do ") + (
        ("driver-too-old", "Nodes", "Images") if which == "matrix" else ("The stack",)
    ):
        assert text in shown
    assert "<script>alert" not in done.stdout


def test_a_picture_of_the_page_is_not_blank(tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    browse(render_matrix(table(), "html", False), tmp_path, 1280, f"--screenshot={picture}")
    rows = scanlines(picture.read_bytes())
    assert len(set(rows)) > 300, "hardly anything is drawn"
    assert (len(rows), len(rows[0]) // 1280 >= 3) == (1400, True)


def scanlines(png: bytes) -> list[bytes]:
    """The (filtered) lines of a picture: https://www.w3.org/TR/png/#7Scanline."""
    width, height, depth, kind = struct.unpack(">IIBB", png[16:26])
    data, at = b"", 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + length]
        at += 12 + length
    line = 1 + width * {2: 3, 6: 4}[kind] * depth // 8
    raw = zlib.decompress(data)
    return [raw[start : start + line] for start in range(0, height * line, line)]


# -- all of them -------------------------------------------------------------------------------------------------------


def test_output_is_the_same_from_run_to_run(tmp_path: Path) -> None:
    for format in FORMATS:
        for report, command in reports(tmp_path):
            assert render(report, command, format, False) == render(report, command, format, False)
    for format in MATRIX_FORMATS:
        assert render_matrix(table(), format, False) == render_matrix(table(), format, False)


def test_printable() -> None:
    assert printable("registry/app:1 ✓") == "registry/app:1 ✓"
    assert printable("\x1b[0m\n\udc80") == "\\x1b[0m\\n\\udc80"
    assert isinstance(nasty().kernel.messages, Seen)


def test_the_command_image_writes_them_too(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text("ID=debian")
    for format, start in (("junit", "<?xml"), ("sarif", "{"), ("html", "<!doctype html>")):
        done = gpucheck("image", str(tmp_path), "--format", format)
        assert done.returncode == 0 and done.stdout.startswith(start), done.stderr
    done = gpucheck("image", str(tmp_path), "--labels-only", "--format", "html")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)

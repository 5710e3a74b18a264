"""gpucheck compat and recommend as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from gpucheck.codec import encode
from gpucheck.compat.inventory import typed
from gpucheck.compat.table import tabulate
from gpucheck.contract import Contract
from gpucheck.record import replace
from gpucheck.render import matrix
from tests.cli.test_commands import gpucheck, saved
from tests.compat.contracts import compat, image, required, torch
from tests.machines import healthy

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schema/compat.json").read_text())
CU130 = image("trainer:cu130", torch("2.14.1+cu130"))
VLLM = image(
    "registry.example.com/inference/vllm/vllm-openai:v0.15.0",
    torch("2.12.1+cu129"),
    forward=compat("575.57.08", "always", "LD_LIBRARY_PATH names it"),
)
NODES = (
    "name=old,driver=550.54.15,gpu=A100-SXM4-80GB,toolkit=1.18,mode=cdi",
    "name=new,driver=580.95.05,gpu=H100,gpu=L4",
    "driver=580.95.05,gpu=FOO",
)


def contract(path: Path, *contracts: Contract) -> str:
    path.write_text(json.dumps([encode(one) for one in contracts]))
    return str(path)


def test_the_matrix_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is the product: all of it, once."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795737600")
    table = tabulate([CU130, VLLM, image("web:1", gpu=False)], [typed(text) for text in NODES])
    text = matrix.render_matrix(table, False)
    assert text == (Path(__file__).parent / "matrix.txt").read_text()
    assert all(len(line) <= 100 or "https://" in line or "[" in line for line in text.splitlines())
    assert matrix.render_matrix(table, False) == text
    coloured = matrix.render_matrix(table, True)
    assert "\x1b[" in coloured and "\x1b[" not in text


def test_many_nodes_are_shown_in_blocks_and_together() -> None:
    nodes = [typed(f"name=n{number},driver=580.95.05,gpu=A100") for number in range(300)]
    nodes += [typed(f"name=m{number},driver={550 + number}.1,gpu=A100") for number in range(12)]
    text = matrix.render_matrix(tabulate([CU130, VLLM], nodes), False)
    assert "and 2" in text and "more on which all is the same" in text
    assert len(text.splitlines()) < 300


def test_names_from_outside_are_harmless() -> None:
    nasty = replace(CU130, image="\x1b]0;owned\x07evil\nimage<script>")
    table = tabulate([nasty], [replace(typed("driver=550.54.15,gpu=A100"), name="\x1b[2Jnode", source="\u202eabc")])
    text = matrix.render_matrix(table, False)
    assert "\x1b" not in text and "\x07" not in text and "\u202e" not in text
    assert "\\x1b" in text


def run(*arguments: str) -> tuple[int, str, str]:
    done = gpucheck(*arguments)
    return done.returncode, done.stdout, done.stderr


def test_exit_codes(tmp_path: Path) -> None:
    good = contract(tmp_path / "good.json", image("a", torch("2.14.1+cu126")))
    for where, status in (
        ("driver=560.35.03,gpu=A100", 0),
        ("driver=550.54.15,gpu=A100", 0),
        ("driver=470.256.02,gpu=A100", 1),
        ("driver=560.35.03", 3),
    ):
        assert run("compat", good, "--node", where)[0] == status, where
    assert run("compat", good, "--node", "driver=550.54.15,gpu=A100", "--strict")[0] == 1


def test_json_follows_its_schema(tmp_path: Path) -> None:
    images = contract(tmp_path / "images.json", CU130, VLLM, image("web:1", gpu=False))
    arguments = [word for node in NODES for word in ("--node", node)]
    status, out, _ = run("compat", images, *arguments, "--set", "driver=580.95.05", "--format", "json")
    document = json.loads(out)
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(document, SCHEMA)
    assert (document["schema"], document["changes"], status) == (1, ["driver=580.95.05"], 1)
    cells = {(cell["image"], cell["node"]): cell for cell in document["cells"]}
    assert len(cells) == 9
    assert cells["trainer:cu130", "old"]["verdict"] == "compatible"
    assert cells[VLLM.image, "new"]["reasons"] == ["cuda-compat-refused"]
    assert cells["web:1", "old"]["notes"] == ["needs-no-gpu"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "mood": 1}, SCHEMA)


def test_what_if_is_said_and_done(tmp_path: Path) -> None:
    images = contract(tmp_path / "images.json", CU130)
    where = ("--node", "driver=550.54.15,gpu=A100")
    assert run("compat", images, *where)[0] == 1
    for change in ("driver=580", "torch=2.14.1+cu126"):
        status, out, _ = run("compat", images, *where, "--set", change)
        assert status == 0 and out.startswith(f"gpucheck compat: 1 image on 1 node, what if {change}\n")
    status, out, _ = run("compat", images, *where, "--set", "driver=580", "--set", "gpu=V100")
    assert status == 1 and "gpu-not-covered-by-build" in out


def test_images_and_nodes_from_files(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(
        json.dumps({"schema": 1, "command": "image", "contract": encode(replace(CU130, image=""))})
    )
    status, out, _ = run("compat", str(tmp_path / "report.json"), "--node", saved(tmp_path / "node.json", healthy()))
    assert status == 0 and "report" in out and "(node)" in out
    same = contract(tmp_path / "same.json", CU130, CU130)
    status, out, _ = run("compat", same, "--node", "driver=580.95.05,gpu=A100", "--node", "driver=580.95.05,gpu=A100")
    assert out.startswith("gpucheck compat: 1 image on 1 node\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{good}",), "compat: name a node: --node driver=550.54.15,gpu=A100"),
        (("{good}", "--node", "driver=x"), "driver=x: driver 'x' is no version"),
        (("{good}", "--node", "{dir}"), "snapshot: no 'tool'"),
        (("/no/such.json", "--node", "driver=580"), "/no/such.json: "),
        (("{bad}", "--node", "driver=580"), "not JSON"),
        (("{empty}", "--node", "driver=580"), "no contract in it"),
        (("{other}", "--node", "driver=580"), "schema 99, this gpucheck reads 1"),
        (("{broken}", "--node", "driver=580"), "no 'image'"),
        (("{good}", "--node", "driver=580", "--set", "driver"), "--set driver: expected FACT=VALUE"),
        (("{good}", "--node", "driver=580", "--set", "numpy=1"), "--set numpy=1: no such fact"),
        (("{good}", "--node", "driver=580", "--set", "torch=0.1"), "no such GPU build is known; the newest are 2.15.0"),
        (
            ("{good}", "--node", "driver=580", "--format", "yaml"),
            "--format yaml: choose one of text, json, junit, sarif, html",
        ),
        (
            ("{good}", "--node", "driver=580", "--output", "/no/such/file"),
            "--output /no/such/file: No such file or directory",
        ),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    files = {"good": [encode(CU130)], "empty": [], "other": {"schema": 99}, "broken": {"schema": 1}}
    places = {"dir": str(tmp_path)}
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        places[name] = str(tmp_path / f"{name}.json")
    (tmp_path / "bad").mkdir()
    places["bad"] = str(tmp_path / "bad/bad.json")
    Path(places["bad"]).write_text("{")
    status, out, err = run("compat", *(argument.format(**places) for argument in arguments))
    assert (status, out) == (2, "")
    assert err.startswith("gpucheck: ") and message in err and err.count("\n") == 1


def test_a_requirement_is_explained_beside_what_cdi_does() -> None:
    wanted = replace(CU130, requirements=required("13.2", 570))
    text = matrix.render_matrix(tabulate([wanted], [typed("driver=580.95.05,gpu=H100,mode=cdi")]), False)
    text = " ".join(text.split())
    assert "cuda>=13.2 does not hold for CUDA 13.0; driver<571 does not hold for driver 580.95.05" in text
    assert "11 alternatives are for other brands of GPU than nvidia (H100). With CDI nobody checks it" in text


def test_recommend_from_the_command_line() -> None:
    status, out, _ = run("recommend", "--gpu", "H100,V100", "--driver", "535", "--library", "torch")
    assert status == 0 and "torch 2.14.1+cu126" in out
    assert out.endswith("First choice: pip install torch==2.14.1 --index-url https://download.pytorch.org/whl/cu126\n")
    status, out, _ = run("recommend", "--node", "gke-cos-129-l4", "--library", "jax", "--format", "json")
    document = json.loads(out)
    assert status == 0 and document["choices"][0]["base_image"] == "gpu-capable/cuda13"
    assert run("recommend", "--gpu", "K80", "--driver", "580", "--library", "torch")[0] == 1
    assert run("recommend", "--gpu", "H100", "--driver", "580", "--library", "numpy")[0] == 2


def test_every_reason_can_be_explained_on_the_command_line() -> None:
    status, out, _ = run("explain", "toolkit-not-known")
    assert status == 0 and out.startswith("toolkit-not-known (gpucheck compat)\n") and "Remedy:" in out
    assert "driver-needs-glibc" in run("explain")[1]
    assert "did you mean needs-no-gpu?" in run("explain", "needs-no-gpux")[2]

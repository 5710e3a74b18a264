"""Write the examples of docs/image.md and docs/compat.md anew: what gpucheck says of real wheels on a real Debian.

``python -m ci.examples`` needs a Docker Engine and the wheels of ``ci/setup/torch.sh`` and ``ci/setup/wheels.sh``. An example is the
block of code after its mark in a page.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ci.engine import find_engine  # noqa: E402
from gpucheck.compat.command import compare  # noqa: E402
from gpucheck.contents.command import Inspected, build, inspect, write  # noqa: E402
from gpucheck.contents.page import render  # noqa: E402
from gpucheck.images.opening import open_image  # noqa: E402
from gpucheck.render import render_matrix  # noqa: E402
from tests.contents import shelf  # noqa: E402
from tests.contents.workshop import ENVIRONMENT, Shop  # noqa: E402

#: What the image is called in the page, and the environment of real wheels that it has.
WHEELS = {
    "torch:2.15": "torch",
    "jax:0.10": "jax",
    "tensorflow:2.21": "tensorflow",
    "cupy:14.2": "cupy",
}
DOUBLED = "doubled:1.0"
#: As the base image for CUDA has it.
GPU_IMAGE = {**ENVIRONMENT, "LD_LIBRARY_PATH": "/usr/local/nvidia/lib64"}
NODES = (
    "driver=550.54.15,gpu=A100-SXM4-80GB,toolkit=1.18,name=a100",
    "driver=580.95.05,gpu=H100,toolkit=1.18,name=h100",
    "driver=580.95.05,gpu=V100,toolkit=1.18,name=v100",
    "driver=595,gpu=B200,toolkit=1.20,name=b200",
    "gke-cos-129-l4",
    "eks-al2023-20260714,gpu=A10G",
)


def look(reference: str, name: str, env: dict[str, str] | None = None) -> Inspected:
    """What is in an image, under the name that the page gives it."""
    with open_image(reference, env=env) as opened:
        opened.reference = name
        return inspect(opened)


def examples() -> dict[str, str]:
    """The text of each example, by its mark."""
    shop = Shop(find_engine())
    found = {name: look(f"dir:{shop.folder(environment)}", name, GPU_IMAGE) for name, environment in WHEELS.items()}
    doubled = look(f"docker:{shelf.find(shop, 'doubled')}", DOUBLED)
    with TemporaryDirectory() as folder:
        files = []
        for name, each in {**found, DOUBLED: doubled}.items():
            files.append(f"{folder}/{name.partition(':')[0]}.json")
            Path(files[-1]).write_text(write(build(each)))
        matrix = render_matrix(compare(files, lambda _: doubled.contract, NODES, ()), "text", False)
    signs = "✓ compatible"
    head, _, rest = matrix.partition(signs)
    reasons = rest.partition("\n\n")[2].split("\n\n")
    shown = next(each for each in reasons if "[driver-too-old]" in each)
    command = " \\\n    ".join(("gpucheck compat torch.json jax.json tensorflow.json cupy.json doubled.json", *(f"--node {node}" for node in NODES)))  # fmt: skip
    return {
        "matrix": f"$ {command}\n{head}{signs}{rest.splitlines()[0]}\n\n{shown}\n\n...\n\n{reasons[-1]}",
        "image": f"$ gpucheck image {DOUBLED}\n{render(doubled.report, doubled.contents, colour=False)}",
    }


def insert(page: str, mark: str, text: str) -> str:
    """The page with the block after ``<!-- MARK: make examples -->`` replaced."""
    pattern = rf"(<!-- {mark}: make examples -->\n```[a-z]*\n).*?(```\n)"
    changed, count = re.subn(pattern, lambda found: f"{found[1]}{text.strip()}\n{found[2]}", page, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"the page has {count} blocks after the mark {mark}, expected one")
    return changed


def main() -> int:
    """Look at the images and write the pages."""
    for mark, text in examples().items():
        page = ROOT / ("docs/compat.md" if mark == "matrix" else "docs/image.md")
        page.write_text(insert(page.read_text(encoding="utf-8"), mark, text), encoding="utf-8")
        print(f"wrote {page.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

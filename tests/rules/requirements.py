"""Cases of rules about what an image requires: (rule, what, snapshot, status)."""

from __future__ import annotations

from gpucheck.facts import Snapshot
from gpucheck.finding import Status
from tests.machines import answers, gpu, healthy, image, nvml_answers

FAIL, PASS, UNKNOWN = Status.FAIL, Status.PASS, Status.UNKNOWN


def requiring(value: str, **changes: object) -> Snapshot:
    return healthy(environment=(("NVIDIA_REQUIRE_CUDA", value),), **changes)


GEFORCE = gpu(name="NVIDIA GeForce RTX 4090", brand=5)

CASES: list[tuple[str, str, Snapshot, Status]] = [
    ("requirement-not-met", "an older CUDA", requiring("cuda>=13.2", cuda=answers(("cuInit", 999))), FAIL),
    ("requirement-not-met", "CUDA is reached all the same", requiring("cuda>=13.2"), FAIL),
    (
        "requirement-not-met",
        "a GeForce",
        requiring(
            "cuda>=13.2 brand=nvidia,driver>=580,driver<581",
            cuda=answers(gpus=(GEFORCE,)),
            nvml=nvml_answers(gpus=(GEFORCE,)),
        ),
        FAIL,
    ),
    ("requirement-not-met", "no engine understands it", requiring("cuda~13"), FAIL),
    ("requirement-not-met", "no version", healthy(environment=(("CUDA_VERSION", "latest"),)), FAIL),
    ("requirement-not-met", "met", requiring("cuda>=12.9"), PASS),
    ("requirement-not-met", "met by an alternative", requiring("cuda>=13.2 driver>=580,driver<581"), PASS),
    ("requirement-not-met", "an old image", healthy(environment=(("CUDA_VERSION", "9.0.176"),)), PASS),
    (
        "requirement-not-met",
        "switched off",
        healthy(environment=(("NVIDIA_DISABLE_REQUIRE", "1"), ("NVIDIA_REQUIRE_CUDA", "cuda>=99"))),
        PASS,
    ),
    ("requirement-not-met", "none", healthy(), PASS),
    ("requirement-not-met", "an image", image(environment=(("NVIDIA_REQUIRE_CUDA", "cuda>=12.9"),)), UNKNOWN),
    ("requirement-not-met", "the brand is not known", requiring("brand=tesla", kernel=healthy().kernel), UNKNOWN),
]

#: Rules whose facts are always known.
ALWAYS_KNOWN: set[str] = set()

"""NVIDIA_REQUIRE_*: the grammar and comparisons of both engines.

The engine of nvidia-container-cli was transcribed to C from src/cli/dsl.c for a comparison outside of this repository: 1,200,000 random
expressions and hosts, no difference (2026-11-27). The cases here are those where it does what one would not expect.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpucheck import require
from gpucheck.require import Answer, Failure, Host, Invalid, compare, csv, legacy, requirements
from tests.compat.contracts import required

HOST = Host("12.4", "550.54.15", "8.0", "nvidia")


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("", True),
        ("   ", True),
        (",", True),
        ("cuda>=12.4", True),
        ("cuda>=12.5", False),
        ("CUDA>=12.4", True),  # 12.3's arm64 images write it so
        ("cuda>=12.10", False),  # not a decimal fraction: 12.10 is above 12.9
        ("cuda<12.10", True),
        ("cuda=12.4.0", True),
        ("cuda=12", False),
        ("driver>=550,driver<551", True),
        ("driver>=535,driver<536", False),
        ("driver>=550.054", True),  # 054 is 54, not octal
        ("driver=550.54.015", True),
        ("driver>99", True),  # as text 550 would be below 99
        ("brand=NVIDIA", True),
        ("brand!=tesla", True),
        ("brand=tesla,driver>=535,driver<536 brand=nvidia,driver>=550,driver<551", True),
        ("cuda>=13 cuda>=12", True),
        ("cuda>=12,cuda>=13", False),
        ("cuda!13", True),  # a lone ! is !=
        ("cuda>=12 this is never read", True),
        ("cuda>=99 ,", False),  # an alternative of nothing takes the answer of the one before
        ("arch>=8.0", True),
        ("arch>=9.0", False),
    ],
)
def test_the_reference_engine(expression: str, holds: bool) -> None:
    assert legacy(expression, HOST).holds is holds


@pytest.mark.parametrize(
    "expression",
    ["cuda", "cuda>=", ">=12", "cuda==12", "cuda=>12", "cuda<>12", "cuda>=12a", "cuda>=.5", "cuda>=v12", "memory>=80", "brand>=tesla",
     "cuda>=13 memory>=80", "cuda>=18446744073709551615", "cuda>=" + "9" * 130, "cuda>=12\t", "cuda>=" + "1." * 70 + "99 cuda>=1"],
)  # fmt: skip
def test_what_the_reference_engine_does_not_understand(expression: str) -> None:
    with pytest.raises(Invalid):
        legacy(expression, Host("1.0", "550", "8.0", "nvidia"))


def test_without_a_gpu_architecture_and_brand_are_taken_for_right() -> None:
    host = Host("12.4", "550.54.15")
    assert legacy("brand=tesla,arch>=99,driver>=550", host) == Answer(True)
    assert legacy("brand=tesla,driver>=999", host).holds is False


def test_every_failed_alternative_is_named_with_its_term() -> None:
    answer = legacy("cuda>=12.9 brand=tesla,driver>=535,driver<536 brand=nvidia,driver>=535,driver<536", HOST)
    assert answer.failures == (
        Failure("cuda>=12.9", "cuda>=12.9"),
        Failure("brand=tesla,driver>=535,driver<536", "brand=tesla"),
        Failure("brand=nvidia,driver>=535,driver<536", "driver<536"),
    )
    assert [failure.property for failure in answer.failures] == ["cuda", "brand", "driver"]


@pytest.mark.parametrize(
    ("expression", "host", "holds"),
    [
        ("cuda>=12.9", Host("", "550"), None),
        ("cuda>=12.9 driver>=550", Host("", "550"), True),
        ("cuda>=12.9 driver>=560", Host("", "550"), None),
        ("cuda>=12.9,driver>=560", Host("", "550"), False),
        ("brand=tesla", Host("12.4", "550", "8.0", ""), None),
        ("driver>=550.54", Host("12.4", "550"), None),  # only the branch is known
        ("driver>=535,driver<551", Host("12.4", "550"), True),
        ("cuda>=12.9 memory>=1", Host("", "550"), None),  # whether the engine comes to the invalid term is not known
    ],
)
def test_a_fact_that_is_not_known_is_no_answer(expression: str, host: Host, holds: bool | None) -> None:
    assert legacy(expression, host).holds is holds


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ()),
        ({"NVIDIA_REQUIRE_CUDA": "cuda>=12"}, (("NVIDIA_REQUIRE_CUDA", "cuda>=12"),)),
        (
            {"NVIDIA_REQUIRE_DRIVER": "driver>=550", "NVIDIA_REQUIRE_CUDA": "cuda>=12"},
            (("NVIDIA_REQUIRE_CUDA", "cuda>=12"), ("NVIDIA_REQUIRE_DRIVER", "driver>=550")),
        ),
        ({"NVIDIA_REQUIRE_JETPACK": "csv-mounts=all", "NVIDIA_REQUIRE_JETPACK_HOST_MOUNTS": "x"}, ()),
        ({"CUDA_VERSION": "9.0.176"}, (("CUDA_VERSION", "cuda>=9.0"),)),
        ({"CUDA_VERSION": "11"}, (("CUDA_VERSION", "cuda>=11.0"),)),
        ({"CUDA_VERSION": "12.4.1", "NVIDIA_REQUIRE_CUDA": "cuda>=12.4"}, (("NVIDIA_REQUIRE_CUDA", "cuda>=12.4"),)),
        ({"NVIDIA_REQUIRE_CUDA": "cuda>=99", "NVIDIA_DISABLE_REQUIRE": "true"}, ()),
        ({"NVIDIA_REQUIRE_CUDA": "cuda>=9", "NVIDIA_DISABLE_REQUIRE": "yes"}, (("NVIDIA_REQUIRE_CUDA", "cuda>=9"),)),
        ({"NVIDIA_REQUIRE_CUDA": "cuda>=9", "NVIDIA_DISABLE_REQUIRES": "1"}, (("NVIDIA_REQUIRE_CUDA", "cuda>=9"),)),
    ],
)
def test_which_variables_are_requirements(variables: dict[str, str], expected: tuple[tuple[str, str], ...]) -> None:
    assert requirements(variables) == expected


@pytest.mark.parametrize("version", ["8.0.61.2", "08.0", "latest"])
def test_a_legacy_image_without_a_version_does_not_start(version: str) -> None:
    with pytest.raises(Invalid):
        requirements({"CUDA_VERSION": version})


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("cuda>=12.2", True),
        ("cuda>=12.10", False),
        ("CUDA>=99", True),  # names have case here: unknown, so skipped
        ("memory>=80", True),
        ("brand=tesla", False),  # it is given no brand, and takes nothing for a value
        ("brand!=tesla", True),
        ("driver>=535,driver<536 cuda>=12", True),
        ("driver<536", True),  # no driver is below every driver
        ("arch>=8.7", True),
    ],
)
def test_the_engine_for_jetsons_differs(expression: str, holds: bool) -> None:
    assert csv(expression, "12.2", "8.7").holds is holds


@pytest.mark.parametrize(
    "expression", ["cuda", "driver>=580.05", "cuda>=12.2.0.1", "cuda>=12 driver>=535.161.07", "cuda!13"]
)
def test_what_the_engine_for_jetsons_does_not_understand(expression: str) -> None:
    """Semantic versions have three numbers without leading zeros, and all terms are read before one is asked."""
    with pytest.raises(Invalid):
        csv(expression, "12.2", "8.7")


VERSIONS = st.lists(st.integers(0, 700), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))
TERMS = st.one_of(
    st.builds("{}{}{}".format, st.sampled_from(["cuda", "driver", "arch"]), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), VERSIONS),
    st.builds("brand{}{}".format, st.sampled_from(["=", "!="]), st.sampled_from(["tesla", "nvidia", "geforce"])),
)  # fmt: skip
EXPRESSIONS = st.lists(st.lists(TERMS, min_size=1, max_size=3).map(",".join), min_size=1, max_size=4).map(" ".join)


@given(EXPRESSIONS, VERSIONS, VERSIONS)
@settings(deadline=None)
def test_a_requirement_is_an_or_of_ands(expression: str, cuda: str, driver: str) -> None:
    host = Host(cuda, driver + ".0", "8.0", "tesla")
    expected = any(all(legacy(term, host).holds for term in part.split(",")) for part in expression.split(" "))
    assert legacy(expression, host).holds is expected


@given(st.text(alphabet="cudarivebn<>=!,. 0123456789", max_size=40))
@settings(deadline=None)
def test_nothing_else_is_raised(expression: str) -> None:
    for ask in (lambda: legacy(expression, HOST), lambda: csv(expression, "12.2", "8.7")):
        try:
            ask()
        except Invalid as error:
            assert str(error)


@given(VERSIONS, VERSIONS)
def test_versions_are_ordered(left: str, right: str) -> None:
    left, right = f"{left}.0", f"{right}.0"
    assert [compare(left, op, right) for op in ("<", "=", ">")].count(True) == 1
    assert compare(left, "<=", right) == (not compare(left, ">", right))


def test_real_requirements_of_nvidias_images() -> None:
    wanted = dict(required("12.9", 535, 550, 560, 565, 570))["NVIDIA_REQUIRE_CUDA"]
    assert legacy(wanted, Host("12.2", "535.261.03", "8.0", "nvidia")).holds is True  # forward compatibility is meant
    assert legacy(wanted, Host("12.4", "550.54.15", "8.9", "geforce")).holds is False
    assert legacy(wanted, Host("13.0", "580.95.05", "8.9", "geforce")).holds is True
    assert require.is_legacy({"CUDA_VERSION": "12.9.1"})

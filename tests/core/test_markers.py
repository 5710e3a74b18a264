"""Markers and versions, in three values."""

from __future__ import annotations

import pytest

from gpucheck.markers import holds, release, satisfies


@pytest.mark.parametrize(
    ("marker", "python", "value"),
    [
        ("", "", True),
        ("sys_platform == 'linux'", "", True),
        ('sys_platform != "linux"', "", False),
        ("'linux' == sys_platform", "", True),
        ("platform_machine == 'x86_64' and sys_platform == 'linux'", "", True),
        ("platform_machine == 'aarch64' or sys_platform == 'darwin'", "", False),
        ("platform_machine in 'x86_64 AMD64'", "", True),
        ("platform_machine not in 'arm64 aarch64'", "", True),
        ("python_full_version < '3.12'", "", None),
        ("python_full_version < '3.12'", "3.11", True),
        ("python_full_version < '3.12'", "3.13", False),
        ("python_full_version == '3.13.*'", "3.13", True),
        ("'3.12' <= python_version", "3.13", True),
        ("python_version < '3.12' and sys_platform == 'darwin'", "", False),
        ("python_version < '3.12' or sys_platform == 'linux'", "", True),
        ("(python_version < '3.12' or extra == 'x') and sys_platform == 'linux'", "", None),
        ("extra == 'gpu'", "", None),
        ("platform_release > '5'", "", None),
        ("'WSL' in platform_release", "", None),
        ("this is no marker", "", None),
        ("(sys_platform == 'linux'", "", None),
        ("(" * 5000 + "sys_platform == 'linux'" + ")" * 5000, "", None),
    ],
)
def test_marker_on_linux(marker: str, python: str, value: bool | None) -> None:
    assert holds(marker, python) is value


@pytest.mark.parametrize(
    ("version", "specifier", "value"),
    [
        ("2.9.1", "", True),
        ("2.9.1", ">=2.9", True),
        ("2.9", "==2.9.0", True),
        ("2.9.1+cu128", "==2.9.1", True),
        ("2.10.0", ">=2.9,<2.10", False),
        ("2.9.5", "==2.9.*", True),
        ("2.10", "!=2.9.*", True),
        ("2.9.5", "~=2.9.1", True),
        ("2.10", "~=2.9.1", False),
        ("2.10", "~=2.9", True),
        ("2.9", "^2.9", None),
        ("2.9", "^2.9,<2", False),
        ("", ">=2", None),
        # By their numbers, unless the clause names a pre-release: NVIDIA's torch 2.6.0a0 has what others ask 2.6 for.
        ("2.6.0a0+ecf3bae40a.nv25.01", ">=2.6", True),
        ("14.0.0rc1", "==14.0.0rc1", True),
        ("14.0.0", "==14.0.0rc1", False),
        ("14.0.0b2", ">=14.0.0a1,<14.0.0rc1", True),
        ("14.0.0.dev3", ">=14.0.0a1", False),
        ("14.0.0.post1", ">14.0.0rc1", True),
    ],
)
def test_version_in_specifier(version: str, specifier: str, value: bool | None) -> None:
    assert satisfies(version, specifier) is value


def test_release_of_what_is_no_version() -> None:
    assert release("latest") == ()

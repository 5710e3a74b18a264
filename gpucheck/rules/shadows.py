"""Packages of the user's own folder before those of an environment."""

from __future__ import annotations

from collections.abc import Iterator

from gpucheck.facts import Snapshot
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.rules import reading
from gpucheck.rules.rule import Layer, rule


@rule(Layer.LIBRARIES)
def user_packages_hide_others(snapshot: Snapshot) -> Iterator[Complaint]:
    """Packages in ~/.local come before those of this container or conda environment, in other versions.

    Python puts the user's own folder before an interpreter's, unless that is of a virtual environment. Singularity and Apptainer
    bring the home folder into every container, and conda environments share it, so what `pip install --user` left there wins.

    Confirm: `python -m site`; `python -c "import torch; print(torch.__file__)"`.
    Remedy: `export PYTHONNOUSERSITE=1`, or uninstall what is in ~/.local.
    Reference: https://docs.python.org/3/library/site.html (PYTHONNOUSERSITE)
    """
    conda = snapshot.variable("CONDA_PREFIX") or ""
    found = [
        each
        for each in snapshot.shadows
        if reading.in_container(snapshot) or (conda and each.place.startswith(f"{conda.rstrip('/')}/"))
    ]
    if not found:
        return
    cpu = {framework.name for framework in snapshot.frameworks if framework.gpu is False}
    first = next((each for each in found if each.name in cpu), found[0])
    yield Complaint(
        Severity.ERROR if first.name in cpu and reading.gpu_here(snapshot) else Severity.WARNING,
        f"{first.name} {first.version} of {first.location} hides {first.hidden} of {first.place}",
        "Python puts the user's own folder before the environment's.",
        tuple(
            Evidence(f"{each.name} {each.version} comes before {each.hidden} in {each.place}", each.location)
            for each in found[:5]
        ),
        f"export PYTHONNOUSERSITE=1 (or: python -s), or: pip uninstall {first.name} outside of it",
    )

"""Packages of the user's own folder that hide those of the environment."""

from __future__ import annotations

import re

from gpucheck.facts import Distributed, Python, Shadow
from gpucheck.probes.python import TELLING, canonical, user_site
from gpucheck.system import System


def shadows(system: System, environments: tuple[Python, ...], installed: tuple[Distributed, ...]) -> tuple[Shadow, ...]:
    """Distributions in both: the user's folder comes first in sys.path."""
    found = []
    for environment in environments:
        for folder in user_site(system, environment.prefix, environment.packages[1:]):
            own = [dist for dist in installed if dist.location == folder and re.fullmatch(TELLING, dist.name)]
            for other in environment.packages:
                if other == folder or not own:
                    continue
                there = _versions(system, other)
                found += [
                    Shadow(dist.name, dist.version, folder, there[dist.name], other)
                    for dist in own
                    if there.get(dist.name, dist.version) != dist.version
                ]
    return tuple(found)


def _versions(system: System, folder: str) -> dict[str, str]:
    try:
        names = system.names(folder)
    except OSError:
        return {}
    matches = [re.fullmatch(r"(.+?)-(\d[^-]*)\.dist-info", name) for name in names]
    return {canonical(match[1]): match[2] for match in matches if match}

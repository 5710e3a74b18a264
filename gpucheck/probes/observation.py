"""One look at a whole system."""

from __future__ import annotations

import sys
from typing import TypedDict

from gpucheck import __version__
from gpucheck.facts import SCHEMA, Cuda, Library, Nvml, Runtime, Seen, Snapshot, Unseen, Why
from gpucheck.probes import devices, driver
from gpucheck.system import System, remembering
from gpucheck.versions import CudaVersion


def observe(system: System, interpreter: str | None = None, deadline: float = driver.DEADLINE) -> Snapshot:
    """Look at every layer. ``interpreter``: a Python or an environment's folder to look into instead of searching.

    On a live system the driver's libraries are called in child processes, all at once, each for at most ``deadline``
    seconds; on files nothing is executed. Never raises for what it finds.
    """
    # First: run as root, libcuda itself makes /dev/nvidiactl where there is none (seen with 535), which is then no evidence.
    nodes = devices.nodes(system)
    interview, silent = None, driver.NOT_LIVE
    if system.live:
        try:
            interview = driver.Interview(system, deadline)
        except OSError as error:
            silent = Unseen(
                Why.NOT_APPLICABLE, (sys.executable,), f"no child process could be started: {error.strerror}"
            )
    if interview:
        interview.ask("cuda", "libcuda.so.1")
        interview.ask("nvml", "libnvidia-ml.so.1")
    # While the driver answers, the rest of the program is loaded.
    from gpucheck.probes import (
        compiling,
        environment,
        extensions,
        hardware,
        hidden,
        host,
        kernel,
        kubernetes,
        libraries,
        limits,
        loads,
        packages,
        python,
        runtime,
        services,
        shadows,
        system_packages,
        tools,
    )

    system = remembering(system)
    environments = python.pythons(system, interpreter)
    installed = python.distributions(system, environments)
    toolkit = libraries.toolkit(system, environments, installed)
    copies = tuple(libraries.runtimes(toolkit))
    if interview:
        for copy in copies:
            interview.ask("cudart", copy.path)
    where = host.host(system)
    database = system_packages.system_packages(system)
    libcuda = libraries.choice(system, "libcuda.so.1")
    libcuda_copies = libraries.driver_copies(system, "libcuda.so.1", libcuda)
    nvml_copies = libraries.driver_copies(system, "libnvidia-ml.so.1", libraries.choice(system, "libnvidia-ml.so.1"))
    frameworks = python.frameworks(system, installed)
    together = packages.packages(system, environments, installed, where)
    cached = tools.cached(system)
    pci = hardware.pci(system)
    return Snapshot(
        schema=SCHEMA,
        tool=__version__,
        host=where,
        pci=pci,
        kernel=kernel.kernel(system),
        nodes=nodes,
        libcuda=libcuda,
        libcuda_copies=libcuda_copies,
        nvml_copies=nvml_copies,
        compat=libraries.compat(system, libcuda_copies),
        libraries=toolkit,
        pythons=environments,
        frameworks=frameworks,
        distributions=python.telling(installed),
        environment=environment.environment(system),
        container=host.container(system),
        runtime=runtime.runtime(system, database),
        kubernetes=kubernetes.kubernetes(system),
        shared_memory=host.shared_memory(system),
        system_packages=database,
        services=services.services(system),
        mps=services.mps(system),
        modprobe=services.modprobe(system),
        toolkit_homes=services.toolkit_homes(system),
        broken_links=libraries.broken_links(system),
        driver_mounts=host.driver_mounts(system),
        address_space=host.address_space(system),
        # Only there is it known to be missing while libcuda.so.1 is found.
        libcuda_unversioned=libraries.choice(system, "libcuda.so") if where.wsl else None,
        packages=together,
        loads=loads.loads(system, environments, frameworks, toolkit, together, where.libc),
        extensions=extensions.extensions(system, environments, installed, toolkit),
        tools=tools.tools(system, environments, installed, cached),
        cached=cached,
        preloads=loads.preloads(system),
        locked_memory=limits.locked_memory(system),
        network=limits.network(system),
        processor=limits.processor(system),
        hidden=hidden.hidden(system, pci),
        code_folders=limits.code_folders(system, installed),
        toolchain=compiling.toolchain(system, installed),
        compiling=compiling.compiling(system, installed),
        programs=compiling.programs(system),
        shadows=shadows.shadows(system, environments, installed),
        unbuilt=compiling.unbuilt(system, installed),
        stacks=compiling.stacks(system, environments, installed, where.libc),
        driver_parts=compiling.driver_parts(system, installed),
        number_readers=compiling.number_readers(system, installed),
        loader=compiling.loader(system, environments),
        ptx_compiler=libraries.ptx_compiler(system, libcuda),
        **answers(interview, silent, copies),
    )


def answers(interview: driver.Interview | None, silent: Unseen, copies: tuple[Library, ...]) -> Answers:
    """What the driver's libraries and the runtimes answered; asked for last, when they have had time.

    ``silent``: why nothing was asked, where there is no interview.
    """
    # In the name of its file, or else the version of the wheel that owns it: 13.5.37 is 13.5.
    versions = [(copy, CudaVersion.parse(copy.version)) for copy in copies]
    if interview is None:
        unasked = tuple(Runtime(copy, version, silent, silent, "") for copy, version in versions)
        return Answers(cuda=silent, nvml=silent, runtimes=unasked)
    interview.finish()
    return Answers(
        cuda=driver.cuda(interview),
        nvml=driver.nvml(interview),
        runtimes=tuple(driver.runtime(copy, interview, version) for copy, version in versions),
    )


class Answers(TypedDict):
    """The facts of a Snapshot that come from calls."""

    cuda: Seen[Cuda] | Unseen
    nvml: Seen[Nvml] | Unseen
    runtimes: tuple[Runtime, ...]

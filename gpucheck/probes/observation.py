"""One look at a whole system."""

from __future__ import annotations

from gpucheck import __version__
from gpucheck.facts import SCHEMA, Cuda, Nvml, Runtime, Seen, Snapshot, Unseen
from gpucheck.probes import devices, driver, environment, hardware, host, kernel, libraries, python, runtime
from gpucheck.system import System


def observe(system: System, interpreter: str | None = None, deadline: float = driver.DEADLINE) -> Snapshot:
    """Look at every layer. ``interpreter``: a Python or an environment's folder to look into instead of searching.

    On a live system the driver's libraries are called in child processes, all at once, each for at most ``deadline``
    seconds; on files nothing is executed. Never raises for what it finds.
    """
    cuda: driver.Question | Unseen = driver.NOT_LIVE
    nvml: driver.Question | Unseen = driver.NOT_LIVE
    if system.live:
        cuda = driver.Question(system, "cuda", "libcuda.so.1", deadline)
        nvml = driver.Question(system, "nvml", "libnvidia-ml.so.1", deadline)
    environments = python.pythons(system, interpreter)
    installed = python.distributions(system, environments)
    toolkit = libraries.toolkit(system, environments, installed)
    copies = tuple(libraries.runtimes(toolkit))
    asked = tuple(driver.Question(system, "cudart", copy.path, deadline) for copy in copies) if system.live else ()
    libcuda = libraries.choice(system, "libcuda.so.1")
    libcuda_copies = libraries.driver_copies(system, "libcuda.so.1", libcuda)
    nvml_choice = libraries.choice(system, "libnvidia-ml.so.1")
    return Snapshot(
        schema=SCHEMA,
        tool=__version__,
        host=host.host(system),
        pci=hardware.pci(system),
        kernel=kernel.kernel(system),
        nodes=devices.nodes(system),
        libcuda=libcuda,
        libcuda_copies=libcuda_copies,
        nvml_copies=libraries.driver_copies(system, "libnvidia-ml.so.1", nvml_choice),
        compat=libraries.compat(system, libcuda_copies),
        libraries=toolkit,
        pythons=environments,
        frameworks=python.frameworks(system, installed),
        distributions=python.telling(installed),
        environment=environment.environment(system),
        container=host.container(system),
        runtime=runtime.runtime(system),
        kubernetes=host.kubernetes(system),
        # Last: by now the children had time to answer.
        cuda=_cuda(cuda),
        nvml=_nvml(nvml),
        runtimes=tuple(
            driver.runtime(copy, question, libraries.runtime_version(copy)) for copy, question in zip(copies, asked)
        )
        if asked
        else tuple(
            Runtime(copy, libraries.runtime_version(copy), driver.NOT_LIVE, driver.NOT_LIVE, "") for copy in copies
        ),
    )


def _cuda(question: driver.Question | Unseen) -> Seen[Cuda] | Unseen:
    return question if isinstance(question, Unseen) else driver.cuda(question)


def _nvml(question: driver.Question | Unseen) -> Seen[Nvml] | Unseen:
    return question if isinstance(question, Unseen) else driver.nvml(question)

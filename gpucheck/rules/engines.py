"""Container engines of a host with a GPU: can they give it to a container?"""

from __future__ import annotations

from collections.abc import Iterator

from gpucheck.facts import ContainerRuntime, Snapshot, Unseen, Why
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.markers import release
from gpucheck.rules import reading
from gpucheck.rules.rule import CannotTell, Layer, rule, seen
from gpucheck.versions import DriverVersion


def _engines(snapshot: Snapshot) -> ContainerRuntime | None:
    """The engines of a host that has a GPU; None elsewhere. Raises ``CannotTell`` when they could not be looked at."""
    if reading.in_container(snapshot) or not reading.gpu_here(snapshot) or snapshot.host.wsl:
        return None
    return seen(snapshot.runtime, None)


@rule(Layer.CONTAINER)
def container_toolkit_missing(snapshot: Snapshot) -> Iterator[Complaint]:
    """The host has a GPU and a container engine, but not the NVIDIA container toolkit.

    The toolkit gives containers the device nodes and the driver's libraries. Without it `docker run --gpus all` says
    "could not select device driver with capabilities: [[gpu]]".

    Confirm: `which nvidia-ctk nvidia-container-runtime`.
    Remedy: install nvidia-container-toolkit, `sudo nvidia-ctk runtime configure --runtime=docker`, restart the engine.
    Reference: https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html
    """
    found = _engines(snapshot)
    # Google's nodes give pods the driver by their own device plugin.
    if (
        found is None
        or not found.engines
        or found.toolkit
        or any("/home/kubernetes/" in copy.path for copy in snapshot.libcuda_copies)
    ):
        return
    yield Complaint(
        Severity.WARNING,
        f"Containers of {', '.join(found.engines)} cannot get the GPU: the NVIDIA container toolkit is not installed",
        "Code on the host itself is not affected.",
        (Evidence("no nvidia-ctk, nvidia-container-runtime or its hook", "/usr/bin"),),
        "Install nvidia-container-toolkit, then: sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker",
    )


@rule(Layer.CONTAINER)
def docker_from_snap(snapshot: Snapshot) -> Iterator[Complaint]:
    """Docker is installed as a snap, whose confinement hides the NVIDIA container toolkit from it.

    The snap's dockerd does not see the host's /usr/bin/nvidia-container-*, so it refuses --gpus although the toolkit is
    installed.

    Confirm: `snap list docker`; `readlink -f $(which docker)`.
    Remedy: `sudo snap remove docker` and install docker-ce or docker.io.
    Reference: https://github.com/NVIDIA/nvidia-docker/issues/1637
    """
    found = _engines(snapshot)
    if found is None or "docker (snap)" not in found.engines or "docker" in found.engines:
        return
    yield Complaint(
        Severity.WARNING,
        "Docker is a snap, which cannot see the NVIDIA container toolkit",
        "A snap sees only its own files, so its containers get no GPU.",
        (Evidence("docker is installed as a snap", "/snap/bin/docker"),),
        "sudo snap remove docker, then install docker-ce: https://docs.docker.com/engine/install/",
    )


@rule(Layer.CONTAINER)
def cgroup_rules_not_added(snapshot: Snapshot) -> Iterator[Complaint]:
    """The container toolkit is told not to add device rules: rootful containers are refused with EPERM.

    `no-cgroups = true` is for rootless engines, which may not change cgroups. Left over with a rootful engine, the nodes
    are in the container and every open of them fails: "Failed to initialize NVML: Unknown Error".

    Confirm: `grep no-cgroups /etc/nvidia-container-runtime/config.toml`.
    Remedy: `sudo nvidia-ctk config --set nvidia-container-cli.no-cgroups=false --in-place`.
    Reference: https://github.com/NVIDIA/nvidia-container-toolkit/issues/580
    """
    found = _engines(snapshot)
    if found is None or not found.no_cgroups or found.rootless or not {"docker", "containerd"} & set(found.engines):
        return
    yield Complaint(
        Severity.WARNING,
        "The NVIDIA container toolkit adds no device rules: containers of a rootful engine may not open the GPU",
        "no-cgroups = true is meant for rootless engines.",
        (Evidence("no-cgroups = true", "/etc/nvidia-container-runtime/config.toml"),),
        "sudo nvidia-ctk config --set nvidia-container-cli.no-cgroups=false --in-place (unless the engine is rootless)",
    )


@rule(Layer.CONTAINER)
def cgroups_not_writable(snapshot: Snapshot) -> Iterator[Complaint]:
    """Docker runs without root here, and the container toolkit still tries to change control groups.

    Rootless docker, and any docker in an unprivileged LXC container, may not add device rules: containers with --gpus do not start,
    with "failed to add device rules" or "write error: devices.allow: operation not permitted".

    Confirm: `docker info --format '{{.SecurityOptions}}'`; `cat /proc/self/uid_map`; `grep no-cgroups /etc/nvidia-container-runtime/config.toml`.
    Remedy: `sudo nvidia-ctk config --set nvidia-container-cli.no-cgroups --in-place`.
    Reference: https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html#rootless-mode
    """
    if not reading.gpu_here(snapshot) or snapshot.host.wsl:
        return
    found = seen(snapshot.runtime, None)
    if found is None or not found.rootless or not found.toolkit or found.no_cgroups or found.cdi:
        return
    inside = found.rootless.startswith("/proc/")
    if inside and not {"docker", "containerd"} & set(found.engines):
        return
    yield Complaint(
        Severity.WARNING,
        "Docker in this unprivileged container (LXC) may not change control groups, and the NVIDIA toolkit tries to: no-cgroups is not set"
        if inside
        else "Rootless docker may not change control groups, and the NVIDIA toolkit tries to: no-cgroups is not set",
        "Containers with --gpus do not start: failed to add device rules, operation not permitted.",
        (
            Evidence(found.rootless, "user namespace")
            if inside
            else Evidence("docker runs without root", found.rootless),
            Evidence("no-cgroups = true is not set", "/etc/nvidia-container-runtime/config.toml"),
        ),
        "sudo nvidia-ctk config --set nvidia-container-cli.no-cgroups=true --in-place, then restart docker",
    )


@rule(Layer.CONTAINER)
def toolkit_ldconfig_wrong(snapshot: Snapshot) -> Iterator[Complaint]:
    """The container toolkit is told of an ldconfig that this host does not have.

    Debian's and Ubuntu's settings name /sbin/ldconfig.real, which only they have. Copied to another distribution, containers with a GPU do
    not start: "nvidia-container-cli: ldcache error: open failed: /sbin/ldconfig.real: no such file or directory".

    Confirm: `grep ldconfig /etc/nvidia-container-runtime/config.toml`; `ls /sbin/ldconfig*`.
    Remedy: `sudo nvidia-ctk config --set nvidia-container-cli.ldconfig=@/sbin/ldconfig --in-place`.
    Reference: https://github.com/NVIDIA/nvidia-container-toolkit/issues/14
    """
    found = _engines(snapshot)
    if found is None or not found.toolkit or not found.ldconfig:
        return
    yield Complaint(
        Severity.WARNING,
        f"The NVIDIA container toolkit is told of {found.ldconfig}, which is not on this host: containers with a GPU do not start",
        "Only Debian and Ubuntu have ldconfig.real."
        if found.ldconfig.endswith(".real")
        else "The settings name a file that is not there.",
        (
            Evidence(f'ldconfig = "@{found.ldconfig}"', "/etc/nvidia-container-runtime/config.toml"),
            Evidence("not there", found.ldconfig),
        ),
        "sudo nvidia-ctk config --set nvidia-container-cli.ldconfig=@/sbin/ldconfig --in-place",
    )


@rule(Layer.CONTAINER, follows=("container-toolkit-missing",))
def cdi_newer_than_podman(snapshot: Snapshot) -> Iterator[Complaint]:
    """The CDI specification is of a newer format than this podman reads: it passes over the whole file.

    nvidia-ctk from 1.19 on writes fields of version 0.7 (additionalGids). podman 4 refuses fields that it does not know: "unresolvable
    CDI devices nvidia.com/gpu=all".

    Confirm: `head -1 /etc/cdi/nvidia.yaml`; `podman --version`.
    Remedy: podman 5 or newer, or nvidia-container-toolkit 1.18 and the specification written anew.
    Reference: https://github.com/NVIDIA/nvidia-container-toolkit/issues/1860
    """
    found = _engines(snapshot)
    if found is None or not found.podman or release(found.podman)[:1] >= (5,):
        return
    for path, version in found.cdi_versions:
        if release(version) < (0, 7):
            continue
        yield Complaint(
            Severity.WARNING,
            f"The CDI specification is of format {version}, which podman {found.podman.split('+')[0]} cannot read: its containers get no GPU",
            "podman 4 refuses fields that it does not know.",
            (Evidence(f"cdiVersion {version}", path), Evidence(f"podman {found.podman}", "package database")),
            "Update podman to 5, or: sudo apt install nvidia-container-toolkit=1.18.2-1 nvidia-container-toolkit-base=1.18.2-1 && "
            f"sudo nvidia-ctk cdi generate --output={path}",
        )
        return


@rule(Layer.CONTAINER, follows=("container-toolkit-missing",))
def cdi_specification_stale(snapshot: Snapshot) -> Iterator[Complaint]:
    """The CDI specification names files of another driver than the one that is loaded.

    A specification lists the driver's files by name, with the version in them. After an update of the driver the files are
    gone, and containers fail with "no such file" or get no libcuda until the specification is written anew.

    Confirm: `grep -o 'libcuda.so.[0-9.]*' /etc/cdi/nvidia.yaml` against `cat /proc/driver/nvidia/version`.
    Remedy: `sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`, or restart nvidia-cdi-refresh.
    Reference: https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/cdi-support.html
    """
    found = _engines(snapshot)
    if found is None or not found.cdi_drivers:
        return
    known = reading.driver_version(snapshot)
    if known is None or any(DriverVersion.parse(version) == known[0] for version in found.cdi_drivers):
        return
    yield Complaint(
        Severity.WARNING,
        f"The CDI specification is for driver {', '.join(found.cdi_drivers)}, and {known[0]} is loaded: containers that use it get no GPU",
        "It names the driver's files with their version, and was not written anew after the driver was changed.",
        (
            *(Evidence(f"{', '.join(found.cdi)} names libcuda.so.{version}", "CDI") for version in found.cdi_drivers),
            Evidence(f"driver {known[0]}", known[1]),
        ),
        "sudo systemctl restart nvidia-cdi-refresh (or: sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml)"
        if found.cdi_refresh
        else f"sudo nvidia-ctk cdi generate --output={found.cdi[0] if found.cdi else '/etc/cdi/nvidia.yaml'}",
    )


@rule(Layer.CONTAINER, follows=("container-toolkit-missing",))
def cdi_specification_missing(snapshot: Snapshot) -> Iterator[Complaint]:
    """There is no CDI specification, which podman needs: "unresolvable CDI devices nvidia.com/gpu=all".

    podman gives GPUs by CDI alone. The specification is written once by nvidia-ctk, or by the service nvidia-cdi-refresh, which fails
    at boot when it runs before the driver is loaded; what lies in /run is gone after a reboot.

    Confirm: `nvidia-ctk cdi list`; `systemctl status nvidia-cdi-refresh`.
    Remedy: `sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`; restart nvidia-cdi-refresh after the driver.
    Reference: https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/cdi-support.html
    """
    found = _engines(snapshot)
    if found is None or not found.toolkit or found.cdi:
        return
    if not found.cdi_refresh and "podman" not in found.engines:
        return
    yield Complaint(
        Severity.WARNING,
        "There is no CDI specification: containers that ask for nvidia.com/gpu get none",
        "The service that writes it is installed and left none: at boot it fails when it runs before the driver is loaded."
        if found.cdi_refresh
        else "podman gives GPUs by CDI alone, and nobody wrote the specification.",
        (Evidence("no .yaml or .json", "/etc/cdi, /run/cdi"), Evidence("the toolkit is installed", found.toolkit)),
        "sudo systemctl restart nvidia-cdi-refresh, and look at: systemctl status nvidia-cdi-refresh"
        if found.cdi_refresh
        else "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml",
    )


@rule(Layer.CONTAINER)
def toolkit_older_than_cgroups(snapshot: Snapshot) -> Iterator[Complaint]:
    """libnvidia-container is older than version 2 of control groups, which this host uses.

    Releases before 1.8.0 know only version 1: containers do not start, with "cgroup subsystem devices not found".

    Confirm: `nvidia-container-cli -V`; `stat -fc %T /sys/fs/cgroup` prints cgroup2fs.
    Remedy: update the NVIDIA container toolkit.
    Reference: https://github.com/NVIDIA/nvidia-docker/issues/1447
    """
    found = _engines(snapshot)
    if found is None or found.cgroups != 2 or not found.library_version:
        return
    numbers = [int(part) for part in found.library_version.split(".")[:2] if part.isdigit()]
    if len(numbers) < 2 or numbers >= [1, 8]:
        return
    yield Complaint(
        Severity.WARNING,
        f"libnvidia-container {found.library_version} does not know this host's control groups (version 2): containers with a GPU do not start",
        "It learned them in 1.8.0.",
        (
            Evidence(f"libnvidia-container {found.library_version}", found.toolkit),
            Evidence("version 2", "/sys/fs/cgroup/cgroup.controllers"),
        ),
        "sudo apt install nvidia-container-toolkit (a current one, from NVIDIA's repository), then restart the engine",
    )


@rule(Layer.CONTAINER)
def cuda_compat_on_host(snapshot: Snapshot) -> Iterator[Complaint]:
    """A cuda-compat package is installed on a host with an engine: the toolkit gives its libcuda to every container.

    libnvidia-container takes forward compatibility libraries that it finds on the host. On GPUs or drivers for which
    forward compatibility does not hold, every container then fails with 804 or 803, whatever its image.

    Confirm: `dpkg -l 'cuda-compat-*'` or `rpm -qa 'cuda-compat-*'`; `nvidia-smi` in a container prints a higher CUDA version than on the host.
    Remedy: remove the package from the host; images bring their own.
    Reference: https://github.com/NVIDIA/nvidia-docker/issues/1515
    """
    found = _engines(snapshot)
    if found is None or not found.engines or not found.toolkit:
        return
    database = snapshot.system_packages
    if isinstance(database, Unseen) and database.why is Why.UNREADABLE:
        raise CannotTell(database.detail, database.tried)
    installed = reading.packages(snapshot, "cuda-compat-")
    if not installed:
        return
    remove = "dnf remove" if "rpm" in getattr(database, "source", "") else "apt purge"
    yield Complaint(
        Severity.WARNING,
        f"{installed[0].name} is installed on this host: the container toolkit gives its libcuda to containers",
        "Where forward compatibility does not hold, every container fails with 804 or 803.",
        tuple(Evidence(f"{package.name} {package.version}", "package database") for package in installed),
        f"sudo {remove} {' '.join(package.name for package in installed)} (or update the driver)",
    )

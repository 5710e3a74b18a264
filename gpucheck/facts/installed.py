"""What Python environments hold and what their frameworks would load: records of the Snapshot."""

from __future__ import annotations

from gpucheck.record import dataclass
from gpucheck.versions import CudaVersion


@dataclass(frozen=True, slots=True)
class Wheel:
    """An installed distribution that matters here, as its installer left it."""

    name: str
    version: str
    location: str
    installer: str
    """``pip``, ``uv``, ``conda``; '' when its files do not tell."""
    tags: tuple[str, ...]
    """What it was built for: ``cp312-cp312-manylinux_2_28_x86_64``; empty when its files do not tell."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a distribution requires of another one that matters here, and what is installed."""

    by: str
    """``torch 2.7.1+cu126``."""
    location: str
    name: str
    specifier: str
    """``==9.5.1.17``; '' for any version."""
    extra: str
    """The extra that asks for it: ``and-cuda``; '' when it is needed in any case."""
    version: str
    """The version that is installed; '' when none is."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Files that two distributions both say they own, with other contents."""

    location: str
    owners: tuple[str, str]
    """``onnxruntime 1.23.0``."""
    winner: str
    """The owner whose files are on disk; '' when that cannot be told, or it is now one and now the other."""
    count: int
    file: str
    """One of them, relative to the location."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A distribution whose list of files names shared objects that are not on disk."""

    owner: str
    location: str
    file: str
    """The first of them, relative to the location."""
    count: int


@dataclass(frozen=True, slots=True)
class Packages:
    """The distributions that matter here among themselves."""

    wheels: tuple[Wheel, ...]
    needs: tuple[Need, ...]
    overlaps: tuple[Overlap, ...]
    lost: tuple[Lost, ...]
    unread: tuple[str, ...]
    """One line for each file that could not be read."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A GPU library that a framework's process would get."""

    soname: str
    path: str
    how: str
    """The list that the dynamic linker finds it in: ``RPATH``, ``LD_LIBRARY_PATH``, ``ld.so.cache``, ..."""
    version: str
    """'' when neither its name nor its owner tells."""
    hides: str
    """The copy that would be taken if this one were not there; '' when there is none."""


@dataclass(frozen=True, slots=True)
class Absent:
    """A library that a framework needs and does not get."""

    soname: str
    requester: str
    when: str
    """``load``, ``first use``, or the feature that needs it."""
    why: str
    """What stands in the way, where something by that name is there: ``a dangling link to ...``, ``for aarch64``."""
    copies: tuple[str, ...]
    """Files of that name on disk that the search does not come by."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """Something that one file expects of another and does not get."""

    requester: str
    soname: str
    """The library that should have it."""
    path: str
    """The file that the requester gets under that name; '' for any of several."""
    version: str
    """The symbol version: ``GLIBC_2.34``; '' for a symbol without one."""
    symbol: str
    """'' when the version as a whole is missing."""
    message: str
    """What the dynamic linker will say."""
    how: str
    """The list that the wrong file is found in."""


@dataclass(frozen=True, slots=True)
class Late:
    """A module that lacks something when it is imported after a framework, and has it when it is imported first."""

    name: str
    """The distribution that it belongs to."""
    module: str
    """Its file."""
    soname: str
    """The library that both ask for."""
    path: str
    """The file that the framework's process has under that name."""
    alone: str
    """The file that the module gets by itself."""
    version: str
    """The symbol version that the first does not define: ``GLIBCXX_3.4.20``."""


@dataclass(frozen=True, slots=True)
class Loads:
    """What importing and using a framework would load, as the model of the dynamic linker has it. Nothing was executed."""

    name: str
    version: str
    location: str
    why: str
    """Why all of it was followed; '' when only the quick look was taken: its wheels are complete and nothing hides them."""
    libraries: tuple[Loaded, ...]
    missing: tuple[Absent, ...]
    misfits: tuple[Misfit, ...]
    unread: tuple[str, ...]
    late: tuple[Late, ...] = ()


@dataclass(frozen=True, slots=True)
class Tool:
    """A program or file that frameworks compile kernels with."""

    kind: str
    """``ptxas``, ``libdevice``, ``compiler``, ``header`` (Python.h), ``libcuda`` (the name that Triton links with), ``nvcc``, ``libnvvm``."""
    user: str
    """Who looks for it: ``triton 3.5.0``."""
    path: str
    """'' when it is in none of the places."""
    cuda: CudaVersion | None
    """The toolkit that it belongs to, where the files tell."""
    tried: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cached:
    """A GPU library in /etc/ld.so.cache."""

    soname: str
    path: str
    exists: bool


@dataclass(frozen=True, slots=True)
class Shadow:
    """A distribution of the user's own folder that hides the environment's."""

    name: str
    version: str
    location: str
    hidden: str
    """The version that the environment has."""
    place: str
    """Where that one is."""


@dataclass(frozen=True, slots=True)
class Unbuilt:
    """A distribution whose compiled part is not installed."""

    name: str
    version: str
    location: str
    module: str
    """The compiled module that its code imports: ``groundingdino._C``."""
    importer: str
    """The file that does."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A shared object that asks for an executable stack."""

    owner: str
    path: str


@dataclass(frozen=True, slots=True)
class DriverPart:
    """A part of the driver beside libcuda that an installed distribution opens."""

    user: str
    part: str
    """``libnvcuvid.so.1``, or ``nvidia.icd`` for OpenCL."""
    path: str
    """'' when it is not found."""


@dataclass(frozen=True, slots=True)
class NumberReader:
    """A distribution whose code reads each entry of CUDA_VISIBLE_DEVICES as a number."""

    name: str
    version: str
    path: str


@dataclass(frozen=True, slots=True)
class Preload:
    """A library that LD_PRELOAD or /etc/ld.so.preload names."""

    name: str
    source: str
    path: str
    """The file; '' when none can be loaded."""
    why: str
    """Why it cannot be loaded."""

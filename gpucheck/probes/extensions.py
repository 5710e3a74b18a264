"""Extensions of torch: whether what they are linked with is what the installed torch has. Nothing is imported."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from gpucheck import kb
from gpucheck.elf import Elf, ElfError, read_elf
from gpucheck.elf.lookup import Exports
from gpucheck.elf.symbols import read_symbols
from gpucheck.facts import Absent, Distributed, Library, Loads, Misfit, Python, Seen, Unseen, Why
from gpucheck.probes.python import parse_torch_version, telling
from gpucheck.probes.text import read_text
from gpucheck.record import replace
from gpucheck.system import NotKept, System

#: Distributions with compiled code that is linked with torch's, or with CUDA's libraries beside torch.
EXTENSIONS: Final = (
    r"torch(vision|audio|text|data|codec|ao|-scatter|-sparse|-cluster|-spline-conv)|flash-attn.*|xformers|vllm.*|bitsandbytes|apex"
    r"|mamba-ssm|causal-conv1d|auto-gptq|detectron2|mmcv.*|sgl-kernel|natten|pytorch3d|fbgemm-gpu.*|gsplat|pyg-lib|deepspeed"
    r"|transformer-engine.*|spconv.*|dgl.*"
)
#: The names of torch's C++ interface, which is not stable between versions: at::, c10::, torch::, caffe2::.
INTERFACE: Final = re.compile(r"_ZT?[A-Z]*K?(?:2at|3c10|5torch|6caffe2)|aoti_torch_")
TORCH_LIBRARY: Final = re.compile(r"lib(torch|c10|caffe2|shm)[\w]*\.so$")
REASON: Final = "it is linked with torch"
#: Some bring hundreds of libraries; a mismatch shows in the first ones.
MAX_LIBRARIES: Final = 40


def extensions(
    system: System, environments: Sequence[Python], installed: tuple[Distributed, ...], libraries: tuple[Library, ...]
) -> Seen[tuple[Loads, ...]] | Unseen:
    """What the extensions of torch lack, of those that are installed beside it; ABSENT when there is none."""
    homes = {dist.location for dist in installed if dist.name == "torch"}
    if not homes:
        return Unseen(Why.ABSENT, (), "no torch is installed")
    found = []
    torches = {location: Torch(system, location, libraries) for location in homes}
    from gpucheck.libs.targets import find_distribution

    for dist in telling(tuple(each for each in installed if each.location in homes)):
        if not re.fullmatch(EXTENSIONS, dist.name):
            continue
        here = [each for each in environments if dist.location in each.packages]
        try:
            target = find_distribution(system, dist.name, here)
        except NotKept as error:
            found.append(Loads(dist.name, dist.version, dist.location, REASON, (), (), (), (str(error),)))
            continue
        if target is None:
            continue
        torch = torches[dist.location]
        missing = {each.soname: each for each in torch.bitsandbytes()} if dist.name == "bitsandbytes" else {}
        misfits: list[Misfit] = []
        unread: list[str] = []
        for path in target.libraries[:MAX_LIBRARIES]:
            try:
                elf = read_elf(system, path)
                if any(TORCH_LIBRARY.match(name) for name in elf.needed):
                    misfits += torch.misfits(elf, target.libraries)
                    missing.update((each.soname, each) for each in torch.missing(elf) if each.soname not in missing)
            except (ElfError, OSError) as error:
                unread.append(str(error))
        found.append(
            Loads(dist.name, dist.version, dist.location, REASON, (), tuple(missing.values()), tuple(misfits), tuple(unread))
        )  # fmt: skip
    if not found:
        return Unseen(Why.ABSENT, tuple(homes), "no extension of torch is installed")
    return Seen(tuple(found), "symbol tables")


class Torch:
    """The installed torch, as its extensions see it once it is imported."""

    def __init__(self, system: System, location: str, libraries: tuple[Library, ...]) -> None:
        self.system = system
        self.folder = f"{location}/torch/lib"
        self._exports: dict[str, Exports | None] = {}
        self._resident = {library.soname for library in libraries if library.path.startswith(f"{location}/")}
        self._copies = libraries
        try:
            self.files = tuple(name for name in system.names(self.folder) if TORCH_LIBRARY.match(name))
        except OSError:
            self.files = ()

    def missing(self, elf: Elf) -> Iterator[Absent]:
        """Torch's own libraries, and those of CUDA, that are needed and neither come with torch nor are found by the linker."""
        from gpucheck.elf import find

        stems = tuple(f"{row.stem}.so." for row in kb.sonames())
        for name in elf.needed:
            ours = bool(TORCH_LIBRARY.match(name))
            if (ours and name in self.files) or not (ours or name.startswith(stems)) or name in self._resident:
                continue
            if not ours and find(self.system, name).path:
                continue
            copies = tuple(library.path for library in self._copies if library.soname == name)
            yield Absent(name, elf.path, "import", "", copies)

    def misfits(self, elf: Elf, beside: Sequence[str]) -> Iterator[Misfit]:
        """The first function of torch's interface that the extension calls and nothing defines."""
        own = {path.rsplit("/", 1)[-1]: path for path in beside}
        needed = [own[name] for name in elf.needed if name in own]
        paths = [*(f"{self.folder}/{name}" for name in self.files), *needed, elf.path]
        for wanted in read_symbols(self.system, elf).undefined:
            if wanted.weak or not INTERFACE.match(wanted.name):
                continue
            if any(exports.define(wanted.name) for path in paths if (exports := self._of(path))):
                continue
            message = f"{elf.path}: undefined symbol: {wanted.name}"
            yield Misfit(elf.path, "", f"{self.folder}", "", wanted.name, message, "resident")
            return

    def bitsandbytes(self) -> Iterator[Absent]:
        """bitsandbytes opens its library for torch's CUDA; a newer one has none for an older CUDA major, or the other way round.
        BNB_CUDA_VERSION names another one, whose libraries torch need not have brought.

        Source: https://github.com/bitsandbytes-foundation/bitsandbytes/blob/main/bitsandbytes/cextension.py
        """
        location = self.folder.removesuffix("/torch/lib")
        version = read_text(self.system, f"{location}/torch/version.py")
        cuda = parse_torch_version(version.value)[1] if isinstance(version, Seen) else None
        files = self.system.glob(f"{location}/bitsandbytes/libbitsandbytes_cuda*.so")
        if chosen := self.system.env.get("BNB_CUDA_VERSION", ""):
            yield from self._chosen(files, chosen)
            return
        numbers = [match[1] for path in files if (match := re.search(r"_cuda(\d+)\d(?:_\w+)?\.so$", path))]
        if cuda and numbers and cuda.partition(".")[0] not in numbers:
            name = f"libbitsandbytes_cuda{cuda.replace('.', '')}.so"
            yield Absent(name, f"{location}/bitsandbytes/cextension.py", "import", "", files[:3])

    def _chosen(self, files: tuple[str, ...], number: str) -> Iterator[Absent]:
        path = next((path for path in files if path.endswith(f"_cuda{number}.so")), "")
        if not path:
            name = f"libbitsandbytes_cuda{number}.so"
            yield Absent(name, f"BNB_CUDA_VERSION={number}", "import", "", files[:3])
            return
        yield from (replace(each, requester=f"{path}, by BNB_CUDA_VERSION={number}") for each in self.missing(read_elf(self.system, path)))  # fmt: skip

    def _of(self, path: str) -> Exports | None:
        if path not in self._exports:
            try:
                self._exports[path] = Exports(self.system, read_elf(self.system, path))
            except NotKept:
                raise
            except (ElfError, OSError):
                self._exports[path] = None
        return self._exports[path]

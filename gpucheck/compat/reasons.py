"""What the reasons mean that only ``gpucheck compat`` gives; all others are rules of the doctor."""

from __future__ import annotations

REASONS = {
    "image-for-other-architecture": """The image is built for another kind of CPU than the node has.

Its first program does not start: exec format error. Nothing about GPUs is judged then.

Confirm: `docker image inspect --format '{{.Architecture}}' IMAGE` against `uname -m` on the node.
Remedy: the image of the same name for the node's architecture, or a build with `docker buildx build --platform`.
Reference: https://docs.docker.com/build/building/multi-platform/""",
    "needs-no-gpu": """Nothing in the image is for GPUs.

It runs on any node of its architecture. If it should use a GPU, a CPU build was installed.

Confirm: `gpucheck image REF` lists no CUDA library and no GPU build.
Remedy: none.
Reference: https://pytorch.org/get-started/locally/""",
    "needs-not-known": """No CUDA library was found in the image, so what it needs cannot be judged.

The base image of a project looks like this, and so does a program that carries CUDA where it is not seen.

Confirm: `gpucheck image REF` lists what was found.
Remedy: judge the finished image; say with ENV NVIDIA_VISIBLE_DEVICES=all that it is for GPUs.
Reference: https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html""",
    "driver-not-known": """Nobody told the node's driver, and everything depends on it.

A cloud's node image of which only the GPU is known, or a snapshot that was taken where no driver is seen.

Confirm: `nvidia-smi` on the node prints the driver's version.
Remedy: say it with driver=VERSION, or take a snapshot on the node: `gpucheck snapshot -o FILE`.
Reference: https://docs.nvidia.com/deploy/nvidia-smi/index.html""",
    "gpu-not-known": """Nobody told the node's GPU, or its name is not in the knowledge base.

Whether an image has code for it depends on its compute capability.

Confirm: `nvidia-smi --query-gpu=name,compute_cap --format=csv` on the node.
Remedy: say it by name or by capability: gpu=A100, gpu=8.0. Names that are known: `gpucheck kb gpus`.
Reference: https://developer.nvidia.com/cuda-gpus""",
    "code-not-known": """For which GPUs a package of the image has code could not be read.

Neither its files tell nor the knowledge base, which knows the builds of common releases.

Confirm: torch: `python -c "import torch; print(torch.cuda.get_arch_list())"`.
Remedy: try the image on one node of that kind.
Reference: https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/compute-capabilities.html""",
    "ptx-compiled-at-start": """A package has no machine code for the GPU, but PTX, which the driver compiles when it is loaded.

It works; the first start takes minutes for a large library, and the cache in ~/.nv is lost with the container.

Confirm: `cuobjdump --list-elf --list-ptx LIBRARY`.
Remedy: none needed; a build with machine code for the GPU starts faster.
Reference: https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/compute-capabilities.html""",
    "toolkit-not-known": """It depends on the node's container toolkit which libcuda a container gets, and one works where the other fails.

NVIDIA's container toolkit puts the image's cuda-compat in front when that is newer: by branch in legacy mode and in 1.18 and 1.19 with
CDI, by the ELF note from 1.20 on, not at all before. It does not look at the kind of GPU.

Confirm: `nvidia-ctk --version` on the node; mode in /etc/nvidia-container-runtime/config.toml.
Remedy: say them with the node: toolkit=1.18,mode=cdi.
Reference: https://github.com/NVIDIA/nvidia-container-toolkit/blob/v1.20.0/CHANGELOG.md""",
    "requirement-not-checked": """The node does not meet what the image requires (NVIDIA_REQUIRE_*), and with CDI nobody checks that.

The container starts all the same. The requirement of NVIDIA's images is stricter than minor-version compatibility, so the program may
well work: the other reasons say whether.

Confirm: `docker inspect --format '{{.Config.Env}}' IMAGE`.
Remedy: none; `docker run --gpus` goes through the hook, which checks.
Reference: https://github.com/NVIDIA/nvidia-container-toolkit/issues/1470""",
    "runtime-not-used": """The image has a second CUDA that does not start on the node's driver, and that nothing judged here uses.

A toolkit below wheels that bring their own, for example. A program of your own that is linked with it would fail with 35.

Confirm: `gpucheck image REF` lists the runtimes and who owns them.
Remedy: none needed; a base image without the toolkit is smaller.
Reference: https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html""",
}

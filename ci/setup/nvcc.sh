#!/usr/bin/env bash
# Make an environment with nvcc, fatbinary and cuobjdump in the cache: tests make GPU code with them and ask what is in it.
set -euo pipefail

version=13.5.37
cache=${GPU_CAPABLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gpu-capable}
place=$cache/nvcc/$version
if [ ! -e "$place/complete" ]; then
  rm -rf "$place"
  "${PYTHON:-python3}" -m venv "$place"
  "$place/bin/python" -m pip install --quiet --disable-pip-version-check uv >&2
  requirements=()
  for name in cuda-nvcc cuda-cuobjdump nvvm cuda-crt cuda-runtime; do requirements+=("nvidia-$name==$version"); done
  "$place/bin/uv" pip install --quiet --python "$place/bin/python" "${requirements[@]}" nvidia-cuda-cccl >&2
  touch "$place/complete"
fi
echo "$place"

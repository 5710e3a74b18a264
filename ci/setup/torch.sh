#!/usr/bin/env bash
# Make an environment with torch (the index's CUDA build, several gigabytes) in the cache, for benchmarks and tests.
set -euo pipefail

cache=${GPU_CAPABLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gpu-capable}
place=$cache/torch
if [ ! -e "$place/complete" ]; then
  rm -rf "$place"
  "${PYTHON:-python3}" -m venv "$place"
  "$place/bin/python" -m pip install --quiet --disable-pip-version-check uv >&2
  "$place/bin/uv" pip install --quiet --python "$place/bin/python" torch numpy >&2
  touch "$place/complete"
fi
echo "$place"

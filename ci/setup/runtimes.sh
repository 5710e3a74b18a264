#!/usr/bin/env bash
# Fetch real CUDA runtimes (libcudart) as wheels from the package index, and unpack them into the cache.
#   ci/setup/runtimes.sh [VERSION ...]     default: 11.8.89 12.9.79 13.5.37; prints one line "VERSION FOLDER" each
set -euo pipefail

cache=${GPU_CAPABLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gpu-capable}
[ $# -gt 0 ] || set -- 11.8.89 12.9.79 13.5.37

for version in "$@"; do
  case $version in
    11.*) name=nvidia-cuda-runtime-cu11 ;;
    12.*) name=nvidia-cuda-runtime-cu12 ;;
    *) name=nvidia-cuda-runtime ;;
  esac
  folder=$cache/runtimes/$version
  if [ ! -e "$folder/complete" ]; then
    rm -rf "$folder"
    # As in an environment: gpucheck finds the wheel's files below lib/python3.x/site-packages.
    "${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
      --only-binary :all: --target "$folder/lib/python3.12/site-packages" "$name==$version" >&2
    touch "$folder/complete"
  fi
  echo "$version $folder"
done

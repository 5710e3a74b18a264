#!/usr/bin/env bash
# Fetch real CUDA runtimes (libcudart) and unpack them into the cache: from wheels of the package index, and the older ones from
# Debian's non-free component and from a wheel of torchvision, which bundles one. They are NVIDIA's: never commit them.
#   ci/setup/runtimes.sh [VERSION ...]     default: those that the tests take; "all" for every one; prints "VERSION FOLDER" each
set -euo pipefail

cache=${GPU_CAPABLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gpu-capable}
tested=(10.2.89 11.2.152 11.7.99 11.8.89 12.0.107 12.2.140 12.4.127 12.5.82 12.6.77 12.8.90 12.9.79 13.0.96 13.3.29 13.5.37)
all=(10.2.89 11.2.152 11.7.99 11.8.89 12.0.107 12.0.146 12.1.55 12.1.105 12.2.53 12.2.128 12.2.140 12.3.52 12.3.101 12.4.99
  12.4.127 12.5.39 12.5.82 12.6.37 12.6.68 12.6.77 12.8.57 12.8.90 12.9.37 12.9.79 13.0.48 13.0.88 13.0.96 13.1.80 13.2.51
  13.2.75 13.2.86 13.3.29 13.4.46rc1 13.4.49 13.4.92 13.5.37)
[ $# -gt 0 ] || set -- "${tested[@]}"
[ "$*" != all ] || set -- "${all[@]}"

install() { # FOLDER REQUIREMENT OPTION...: as in an environment, gpucheck finds the files below lib/python3.x/site-packages
  local folder=$1 requirement=$2
  shift 2
  "${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
    --only-binary :all: --target "$folder/lib/python3.12/site-packages" "$@" "$requirement" >&2
}

plain() { # FOLDER FILE NAME SONAME: as in a conda environment
  mkdir -p "$1/lib/python3.12/site-packages"
  cp "$2" "$1/lib/$3"
  ln -s "$3" "$1/lib/$4"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for version in "$@"; do
  folder=$cache/runtimes/$version
  if [ ! -e "$folder/complete" ]; then
    rm -rf "$folder"
    case $version in
      10.2.89) # bundled as libcudart.459720b2.so.10.2, in a wheel for a Python that is not this one
        install "$work" torchvision==0.8.2 --python-version 3.7 --implementation cp --abi cp37m --platform manylinux1_x86_64
        plain "$folder" "$work"/lib/python3.12/site-packages/torchvision.libs/libcudart.*.so.10.2 "libcudart.so.$version" libcudart.so.10.2 ;;
      11.2.152)
        "$(dirname "$0")/debian-packages.sh" "$work/debian" bullseye libcudart11.0
        plain "$folder" "$work"/debian/usr/lib/x86_64-linux-gnu/libcudart.so.11.2.152 "libcudart.so.$version" libcudart.so.11.0 ;;
      11.*) install "$folder" "nvidia-cuda-runtime-cu11==$version" ;;
      12.*) install "$folder" "nvidia-cuda-runtime-cu12==$version" ;;
      *) install "$folder" "nvidia-cuda-runtime==$version" ;;
    esac
    touch "$folder/complete"
  fi
  echo "$version $folder"
done

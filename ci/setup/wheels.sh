#!/usr/bin/env bash
# Make an environment with one GPU library each in the cache: what imports really load is compared with what is predicted.
# The versions are those that were measured; the NVIDIA wheels that they ask for are the newest that fit.
#   ci/setup/wheels.sh [NAME ...]     default: all names below; prints one line "NAME FOLDER" each
set -euo pipefail

cache=${GPU_CAPABLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gpu-capable}
declare -A requirements=(
  [onnxruntime-gpu]="onnxruntime-gpu[cuda,cudnn]==1.31.1"
  [cupy]="cupy-cuda12x[ctk]==14.2.0"
  [jax]="jax[cuda13]==0.10.2"
  [tensorflow]="tensorflow==2.21.0"
  [xgboost]="xgboost==3.2.0"
  [old-nvjitlink]="nvidia-nvjitlink-cu12==12.1.105"
  [old-torchvision]="--no-deps torchvision==0.22.1"
  [onnxruntime]="--no-deps onnxruntime==1.31.1"
  [ctranslate2]="--no-deps ctranslate2==4.8.5"
)
[ $# -gt 0 ] || set -- onnxruntime-gpu cupy jax tensorflow xgboost old-nvjitlink old-torchvision onnxruntime ctranslate2

for name in "$@"; do
  [ -n "${requirements[$name]:-}" ] || { echo "no environment $name here: ${!requirements[*]}" >&2; exit 2; }
  place=$cache/wheels/$name
  if [ ! -e "$place/complete" ]; then
    rm -rf "$place"
    "${PYTHON:-python3}" -m venv "$place"
    "$place/bin/python" -m pip install --quiet --disable-pip-version-check uv >&2
    # shellcheck disable=SC2086
    "$place/bin/uv" pip install --quiet --python "$place/bin/python" ${requirements[$name]} >&2
    touch "$place/complete"
  fi
  echo "$name $place"
done

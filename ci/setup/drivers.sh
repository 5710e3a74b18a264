#!/usr/bin/env bash
# Fetch real NVIDIA user-space driver libraries (libcuda, libnvidia-ml) from Debian's non-free component, and unpack them
# into the cache: nothing is installed. They are NVIDIA's property under Debian's non-free terms: never commit them.
#   ci/setup/drivers.sh [NAME ...]     default: 535; "all" for every one; prints one line "NAME FOLDER" each
# A NAME is a branch, where its newest version in Debian is meant, or a branch and the start of a version, or one that does not
# load on a plain amd64 system: "-alone" lacks the package with the libnvidia-fatbinaryloader that its libcuda needs.
set -euo pipefail

cache=${GPU_CAPABLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gpu-capable}
order=(340 390 390-alone 418 418-alone 450 460 470 525 535 535.216 535.274 535.309 535-i386 535-arm64 550 550.54 555)
declare -A suite=(
  [340]=sid [390]=sid [390-alone]=sid [418]=sid [418-alone]=sid [450]=sid [460]=sid [470]=sid [525]=sid
  [535]=bookworm [535.216]=bookworm [535.274]=sid [535.309]=bookworm-security [535-i386]=bookworm [535-arm64]=bookworm
  [550]=trixie [550.54]=sid [555]=experimental
)
libraries="libcuda1 libnvidia-ml1 libnvidia-ptxjitcompiler1"
declare -A packages=(
  [340]="libnvidia-legacy-340xx-cuda1 libnvidia-legacy-340xx-ml1"
  [390]="libnvidia-legacy-390xx-cuda1 libnvidia-legacy-390xx-ml1 libnvidia-legacy-390xx-fatbinaryloader"
  [390-alone]="libnvidia-legacy-390xx-cuda1"
  [418]="libnvidia-tesla-418-cuda1 libnvidia-tesla-418-ml1 libnvidia-tesla-418-fatbinaryloader"
  [418-alone]="libnvidia-tesla-418-cuda1"
  [450]="libnvidia-tesla-450-cuda1 libnvidia-tesla-450-ml1"
  [460]="libnvidia-tesla-460-cuda1 libnvidia-tesla-460-ml1"
  [470]="libnvidia-tesla-470-cuda1 libnvidia-tesla-470-ml1 libnvidia-tesla-470-ptxjitcompiler1"
  [525]="libnvidia-tesla-cuda1 libnvidia-tesla-ml1"
  [535]=$libraries [535.309]="libcuda1 libnvidia-ml1" [535-i386]="libcuda1:i386" [535-arm64]="libcuda1:arm64"
  [535.216]="libnvidia-tesla-535-cuda1 libnvidia-tesla-535-ml1" [535.274]="libnvidia-tesla-535-cuda1 libnvidia-tesla-535-ml1"
  [550]=$libraries [550.54]="libnvidia-tesla-550-cuda1 libnvidia-tesla-550-ml1" [555]="libcuda1 libnvidia-ml1"
)
[ $# -gt 0 ] || set -- 535
[ "$*" != all ] || set -- "${order[@]}"

for name in "$@"; do
  [ -n "${suite[$name]:-}" ] || { echo "no driver $name here: ${order[*]}" >&2; exit 2; }
  folder=$cache/drivers/$name
  if [ ! -e "$folder/complete" ]; then
    rm -rf "$folder"
    # shellcheck disable=SC2086
    "$(dirname "$0")/debian-packages.sh" "$folder" "${suite[$name]}" ${packages[$name]}
    touch "$folder/complete"
  fi
  echo "$name $folder"
done

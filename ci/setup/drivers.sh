#!/usr/bin/env bash
# Fetch real NVIDIA user-space driver libraries (libcuda, libnvidia-ml) from Debian's non-free component, and unpack them
# into the cache: nothing is installed. They are NVIDIA's property under Debian's non-free terms: never commit them.
#   ci/setup/drivers.sh [BRANCH ...]     default: 535; prints one line "BRANCH FOLDER" each
set -euo pipefail

cache=${GPU_CAPABLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gpu-capable}
declare -A suite=([535]=bookworm [550]=trixie [470]=sid)
declare -A packages=(
  [535]="libcuda1 libnvidia-ml1 libnvidia-ptxjitcompiler1"
  [550]="libcuda1 libnvidia-ml1 libnvidia-ptxjitcompiler1"
  [470]="libnvidia-tesla-470-cuda1 libnvidia-tesla-470-ml1 libnvidia-tesla-470-ptxjitcompiler1"
)
[ $# -gt 0 ] || set -- 535

# The machine's own Debian mirror, whichever it is.
mirror=$(grep -rhv '^ *#' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null |
  grep -oE 'https?://[^ ]+/debian/?( |$)' | head -n 1 | tr -d ' ') || true
mirror=${mirror:-http://deb.debian.org/debian}

for branch in "$@"; do
  [ -n "${suite[$branch]:-}" ] || { echo "no driver branch $branch here: ${!suite[*]}" >&2; exit 2; }
  folder=$cache/drivers/$branch
  if [ ! -e "$folder/complete" ]; then
    state=$(mktemp -d)
    trap 'rm -rf "$state"' EXIT
    mkdir -p "$state"/{lists/partial,archives/partial,debs}
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror ${suite[$branch]} non-free" >"$state/sources.list"
    options=(-o "Dir::Etc::SourceList=$state/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$state/lists"
      -o "Dir::Cache=$state" -o "Dir::Cache::Archives=$state/archives" -o APT::Sandbox::User=root)
    apt-get "${options[@]}" -qq update >&2
    # shellcheck disable=SC2086
    (cd "$state/debs" && apt-get "${options[@]}" -qq download ${packages[$branch]} >&2)
    rm -rf "$folder" && mkdir -p "$folder"
    for deb in "$state"/debs/*.deb; do dpkg -x "$deb" "$folder"; done
    touch "$folder/complete"
    rm -rf "$state"
    trap - EXIT
  fi
  echo "$branch $folder"
done

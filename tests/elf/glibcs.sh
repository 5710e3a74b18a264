#!/usr/bin/env bash
# Fetch the libc6 packages of other Debian releases and architectures, and an emulator for the latter, and unpack them into
# the cache: their ld.so is an oracle of the search order. Nothing is installed.
#   tests/elf/glibcs.sh [SUITE-ARCHITECTURE ...]     default: bullseye-amd64 trixie-amd64 trixie-arm64
# Prints one line "SUITE-ARCHITECTURE FOLDER" each; "qemu FOLDER" for the emulator.
set -euo pipefail

cache=${GPU_CAPABLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gpu-capable}
[ $# -gt 0 ] || set -- bullseye-amd64 trixie-amd64 trixie-arm64

# The machine's own Debian mirror, whichever it is.
mirror=$(grep -rhv '^ *#' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null |
  grep -oE 'https?://[^ ]+/debian/?( |$)' | head -n 1 | tr -d ' ') || true
mirror=${mirror:-http://deb.debian.org/debian}

# fetch FOLDER SUITE ARCHITECTURE PACKAGE
fetch() {
  [ ! -e "$1/complete" ] || return 0
  local state options
  state=$(mktemp -d)
  mkdir -p "$state"/{lists/partial,archives/partial,debs}
  echo "deb [arch=$3 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $2 main" >"$state/sources.list"
  options=(-o "Dir::Etc::SourceList=$state/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$state/lists"
    -o "Dir::State::status=/dev/null" -o "Dir::Cache=$state" -o "Dir::Cache::Archives=$state/archives"
    -o APT::Sandbox::User=root -o "APT::Architecture=$3" -o "APT::Architectures=$3" -o Acquire::Languages=none
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
  apt-get "${options[@]}" -qq update >&2
  (cd "$state/debs" && apt-get "${options[@]}" -qq download "$4" >&2)
  rm -rf "$1" && mkdir -p "$1"
  for deb in "$state"/debs/*.deb; do dpkg -x "$deb" "$1"; done
  touch "$1/complete"
  rm -rf "$state"
}

for name in "$@"; do
  fetch "$cache/glibc/$name" "${name%-*}" "${name##*-}" libc6
  echo "$name $cache/glibc/$name"
  if [ "${name##*-}" != "$(dpkg --print-architecture)" ]; then
    fetch "$cache/glibc/qemu" bookworm "$(dpkg --print-architecture)" qemu-user-static
    echo "qemu $cache/glibc/qemu"
  fi
done

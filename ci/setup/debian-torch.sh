#!/usr/bin/env bash
# Make a root folder in the cache with Debian's own build of torch for CPUs, on top of the Debian image. Needs root (chroot).
#   ci/setup/debian-torch.sh     prints the folder
set -euo pipefail

cache=${GPU_CAPABLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gpu-capable}
tar=$cache/debian-trixie-$(uname -m).tar
place=$cache/debian-torch
if [ ! -e "$place/complete" ]; then
  if [ ! -s "$tar" ]; then
    # The engine has the image from an earlier run or a registry.
    container=$(docker create debian:trixie-slim) || { echo "no debian:trixie-slim; run: ci/setup/debian-image.sh" >&2; exit 2; }
    docker export "$container" >"$tar.part"
    docker rm "$container" >/dev/null
    mv "$tar.part" "$tar"
  fi
  rm -rf "$place"
  mkdir -p "$place"
  tar -C "$place" -xf "$tar"
  cp /etc/resolv.conf "$place/etc/resolv.conf"
  chroot "$place" sh -c 'apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends python3-torch' >&2
  rm -rf "$place"/var/cache/apt/archives/*.deb "$place"/var/lib/apt/lists/*
  touch "$place/complete"
fi
echo "$place"

#!/usr/bin/env bash
# Make the image debian:SUITE-slim from Debian's packages, for machines that reach a Debian mirror but no image registry.
# An image of that name that is there already, pulled or made, is left alone. Needs root and a Docker Engine.
#
#     ci/setup/debian-image.sh [SUITE]        SUITE: trixie unless told
#     DEBIAN_MIRROR                           the mirror to take the packages from
set -euo pipefail

suite=${1:-trixie}
image=debian:$suite-slim
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
cache=${GPU_CAPABLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gpu-capable}

say() { echo "debian-image: $*" >&2; }

if ! docker info >/dev/null 2>&1; then
    say "no Docker Engine answers; start one with ci/setup/docker-engine.sh"
    exit 2
fi
if docker image inspect "$image" >/dev/null 2>&1; then
    say "$image is there already"
    exit 0
fi

install() {
    say "installing $* with apt-get"
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

mkdir -p "$cache"
exec 9>"$cache/debian-image.lock"
flock 9

tar=$cache/debian-$suite-$(uname -m).tar
if [ ! -s "$tar" ]; then
    if [ "$(id -u)" != 0 ]; then
        say "$image has to be made by root (debootstrap); or pull it: docker pull $image"
        exit 2
    fi
    command -v debootstrap >/dev/null || install debootstrap
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -s "$keyring" ] || install debian-archive-keyring

    work=$(mktemp -d "$cache/debootstrap.XXXXXX")
    trap 'rm -rf -- "$work"' EXIT
    # Every Debian release since sid's script was written is installed the same way; an older debootstrap lacks the name.
    script=/usr/share/debootstrap/scripts/$suite
    [ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid

    say "making $tar from $mirror (a minute or two)"
    if ! debootstrap --variant=minbase --include=ca-certificates --keyring="$keyring" \
        "$suite" "$work/root" "$mirror" "$script" >"$work/log" 2>&1; then
        say "debootstrap failed:"
        tail -n 5 "$work/log" >&2
        exit 1
    fi
    rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/*
    tar -C "$work/root" --numeric-owner -c . >"$work/tar"
    mv "$work/tar" "$tar"
fi

# The configuration that Docker Hub's debian images have.
docker import \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'CMD ["bash"]' \
    "$tar" "$image" >/dev/null
say "$image made from $tar"

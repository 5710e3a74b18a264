#!/usr/bin/env bash
# Make a Docker Engine answer on this machine: install Debian's when there is none, start it when it does not run.
# Safe to run again. Needs root only for what is missing. Chatter goes to stderr.
set -euo pipefail

say() { echo "docker-engine: $*" >&2; }
answers() { docker info >/dev/null 2>&1; }
version() { docker version --format '{{.Server.Version}}'; }

if answers; then
    say "version $(version) answers already"
    exit 0
fi

if [ "$(id -u)" != 0 ]; then
    say "no Docker Engine answers; start it, or run this script as root to install and start one"
    exit 2
fi

if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null || ! command -v iptables >/dev/null; then
    if ! command -v apt-get >/dev/null; then
        say "no dockerd and no apt-get here; install a Docker Engine: https://docs.docker.com/engine/install/"
        exit 2
    fi
    apt-get update -qq >&2
    packages=(docker.io iptables)
    # From Debian 13 on the command and its BuildKit plugin are packages of their own.
    for package in docker-cli docker-buildx; do
        if apt-cache show "$package" >/dev/null 2>&1; then packages+=("$package"); fi
    done
    say "installing ${packages[*]} with apt-get"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2
    hash -r
fi

cache=${GPU_CAPABLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gpu-capable}
log=$cache/dockerd.log
mkdir -p "$cache"
# One that is there and does not answer is starting or ending: half a minute for either.
for _ in $(seq 150); do
    pgrep -x -r R,S,D dockerd >/dev/null || break
    if answers; then
        say "version $(version) answers"
        exit 0
    fi
    sleep 0.2
done
# An engine that was killed leaves its pid files, and the next one refuses to start where that number is in use again.
if ! pgrep -x -r R,S,D dockerd >/dev/null; then
    rm -f /var/run/docker.pid /var/run/docker/containerd/containerd.pid
fi
# A session of its own, so that the engine outlives the shell that called us and no Ctrl-C reaches it.
setsid dockerd >"$log" 2>&1 </dev/null &
engine=$!
say "started dockerd (process $engine), its log is $log"

for _ in $(seq 300); do
    if answers; then
        say "version $(version) answers"
        exit 0
    fi
    if ! kill -0 "$engine" 2>/dev/null; then
        say "dockerd ended before it answered; the end of $log says:"
        tail -n 5 "$log" >&2
        exit 1
    fi
    sleep 0.2
done
say "dockerd runs but did not answer within a minute; see $log"
exit 1

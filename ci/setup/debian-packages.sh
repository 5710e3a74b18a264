#!/usr/bin/env bash
# Unpack packages of a suite's non-free component into a folder: nothing is installed, the machine's own lists stay as they are.
#   ci/setup/debian-packages.sh FOLDER SUITE PACKAGE[:ARCHITECTURE] ...
set -euo pipefail
folder=$1 suite=$2
shift 2

# The machine's own Debian mirror, whichever it is.
mirror=$(grep -rhv '^ *#' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null |
  grep -oE 'https?://[^ ]+/debian/?( |$)' | head -n 1 | tr -d ' ') || true
mirror=${mirror:-http://deb.debian.org/debian}
mirror=${mirror%/}
[[ $suite != *-security ]] || mirror=$mirror-security

state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
mkdir -p "$state"/{lists/partial,archives/partial,debs}
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite non-free" >"$state/sources.list"
options=(-o "Dir::Etc::SourceList=$state/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$state/lists"
  -o "Dir::Cache=$state" -o "Dir::Cache::Archives=$state/archives" -o APT::Sandbox::User=root
  -o APT::Architectures::=amd64 -o APT::Architectures::=i386 -o APT::Architectures::=arm64)
apt-get "${options[@]}" -qq update >&2
(cd "$state/debs" && apt-get "${options[@]}" -qq download "$@" >&2)
mkdir -p "$folder"
for deb in "$state"/debs/*.deb; do dpkg -x "$deb" "$folder"; done

#!/usr/bin/env bash
# The published schemas that the tests compare reports with, from packages that carry them: SARIF 2.1.0 (crate serde-sarif) and
# Jenkins' JUnit (source of pytest). Kept outside the repository.
set -euo pipefail

cache=${GPU_CAPABLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gpu-capable}/schemas
mkdir -p "$cache"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ ! -s "$cache/sarif-2.1.0.json" ]; then
  mkdir -p "$work/sarif/src"
  touch "$work/sarif/src/lib.rs"
  printf '[package]\nname = "schemas"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\nserde-sarif = "=0.7.0"\n' >"$work/sarif/Cargo.toml"
  (cd "$work/sarif" && cargo vendor --quiet vendor >/dev/null)
  cp "$work/sarif/vendor/serde-sarif/src/schema.json" "$cache/sarif-2.1.0.json"
fi
if [ ! -s "$cache/junit-10.xsd" ]; then
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --no-binary pytest --dest "$work" pytest==8.3.4
  tar -xzf "$work"/pytest-*.tar.gz -C "$work"
  cp "$work"/pytest-*/testing/example_scripts/junit-10.xsd "$cache/junit-10.xsd"
fi
ls "$cache"

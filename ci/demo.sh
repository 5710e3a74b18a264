#!/usr/bin/env bash
# `make demo`: start a project, run its tests, check it with gpucheck; where a Docker Engine answers, build its image and look inside.
#   ci/demo.sh [FOLDER]     default: a new temporary folder
# DEMO_TYPE and DEMO_LIBRARY choose the project type (batch-job) and the ML library (none).
set -euo pipefail

repository=$(cd "$(dirname "$0")/.." && pwd)
scratch=${1:-$(mktemp -d "${TMPDIR:-/tmp}/gpu-capable-demo.XXXXXX")}
project=$scratch/demo-project
type=${DEMO_TYPE:-batch-job}
library=${DEMO_LIBRARY:-none}
export GPUCHECK=$repository/dist/gpucheck.pyz

step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
[ -t 1 ] || step() { printf '\n== %s\n' "$*"; }

if [ -e "$project" ]; then
  echo "demo: $project is there already; remove it, or choose another folder: make demo DEMO=FOLDER" >&2
  exit 2
fi

step "Start a project: copier copy"
copier copy --quiet --defaults --vcs-ref HEAD \
  --data project_type="$type" --data ml_library="$library" --data project_name=demo-project "$repository" "$project"
cd "$project"
git init --quiet
git add --all
git -c user.name=demo -c user.email=demo@localhost commit --quiet --message "Start from the template"
find . -path ./.git -prune -o -type f -print | sort | sed 's/^/  /'

step "Its own checks and tests: scripts/check.sh"
scripts/check.sh

# A machine without a GPU is no failure of the demo; a gpucheck that could not run is.
look() { "$@" || { code=$?; [ "$code" -eq 1 ] || [ "$code" -eq 3 ] || exit "$code"; }; }

step "Does this machine reach a GPU? gpucheck doctor"
look scripts/doctor.sh doctor

step "Do its parts fit each other? gpucheck project"
look scripts/doctor.sh project

image="none built: no Docker Engine answers"
if docker info >/dev/null 2>&1; then
  step "Its image, on the base image that it was started on"
  base=$(sed -n 's/^base_image: *//p' .copier-answers.yml)
  export CA_BUNDLE=${CA_BUNDLE:-${SSL_CERT_FILE:-}}
  # Of several docker clients, the one that can build with BuildKit.
  client=$(cd "$repository" && python -c 'from ci.engine import find_engine; print(find_engine().client)')
  PATH=$repository/.venv/bin:$(dirname "$client"):$PATH
  if (cd "$repository" && python -m ci.images build --only "$base") && scripts/image.sh; then
    step "Inside the container: gpucheck doctor"
    look docker run --rm demo-project gpucheck doctor
    image=demo-project:latest
  else
    image="none built: see above"
    echo "demo: the image was not built, everything else was done" >&2
  fi
fi

step "Where everything is"
printf '  %-10s %s\n' project "$project" tests "cd $project && scripts/check.sh" doctor "python3 $GPUCHECK doctor" image "$image"

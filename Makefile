# The targets that people and CI call. Everything is installed into .venv; caches lie outside the repository.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The folder of make demo; empty: a new temporary one
DEMO ?=
# Options for pytest: make test ARGS="-k loading"
ARGS ?=

SOURCES := $(shell find gpucheck -type f -not -name '*.pyc' 2>/dev/null)
WHEEL := dist/gpu_capable-$(shell sed -n 's/^__version__ = "\(.*\)"$$/\1/p' gpucheck/__init__.py)-py3-none-any.whl

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F':.*?## ' '{printf "make %-10s %s\n", $$1, $$2}'

$(BIN)/gpucheck: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "gpu-capable needs Python 3.10 or newer: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --group dev --editable .
	@touch $@

.PHONY: setup
setup: $(BIN)/gpucheck ## Create .venv with everything that development needs

.PHONY: demo
demo: setup pyz ## Start a project, test it, and check it with gpucheck
	@PATH="$(CURDIR)/$(BIN):$$PATH" ci/demo.sh $(DEMO)

.PHONY: test
test: setup pyz ## Run the tests; what the machine lacks is skipped with a line that says what was not tested
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -rs -n auto -m "not gpu" $(ARGS)

.PHONY: unit
unit: setup pyz ## Run the tests that need no engine and no cluster
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n auto -m "not gpu" --ignore=tests/images --ignore=tests/cluster $(ARGS)

.PHONY: kubernetes
kubernetes: setup pyz ## Run the tests that need a cluster
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -m "not gpu" tests/cluster $(ARGS)

.PHONY: gpu-test
gpu-test: setup ## Run the tests that need a GPU
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -m gpu $(ARGS)

.PHONY: lint
lint: setup ## Check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m ci.documentation --check
	$(BIN)/python -m ci.matrix_yaml --check
	$(BIN)/python -m ci.native --check

.PHONY: bench
bench: setup pyz ## Print each benchmark as a ratio against a named peer or limit
	@for file in bench/*.py; do $(BIN)/python "$$file"; done

.PHONY: grid
grid: setup ## Compare real drivers x real CUDA runtimes with what gpucheck predicts, and write docs/grid.md
	$(BIN)/python -m ci.grid --markdown docs/grid.md $(ARGS)

.PHONY: images
images: setup pyz wheel ## Build the images of base-images/matrix.toml with the Docker Engine, and test them
	$(BIN)/python -m ci.images build test $(ARGS)

.PHONY: pyz
pyz: dist/gpucheck.pyz ## Build gpucheck as one file that runs with any Python 3.10 or newer

dist/gpucheck.pyz: $(SOURCES) ci/pyz.py pyproject.toml | setup
	$(BIN)/python -m ci.pyz $@

.PHONY: wheel
wheel: $(WHEEL) ## Build the wheel

$(WHEEL): $(SOURCES) pyproject.toml README.md LICENSE | setup
	$(BIN)/uv build --quiet --wheel --out-dir dist
	@touch $@

.PHONY: package
package: setup pyz ## Build the wheel, the sdist and gpucheck.pyz into dist
	$(BIN)/uv build --quiet --out-dir dist

.PHONY: docs
docs: setup ## Write what is generated: docs/rules.md, docs/schema, base-images/matrix.yml
	$(BIN)/python -m ci.documentation
	$(BIN)/python -m ci.matrix_yaml

.PHONY: examples
examples: setup ## Write the examples of docs/image.md and docs/compat.md: what is said of real wheels, in an engine
	$(BIN)/python -m ci.examples

.PHONY: corpus
corpus: setup ## Judge every fixture of tests/corpus and write docs/corpus.md
	$(BIN)/python -m ci.corpus

.PHONY: knowledge
knowledge: setup ## Derive rows of the knowledge base from artifacts again: make knowledge ARGS="--check torch"
	$(BIN)/python -m ci.knowledge $(ARGS)

.PHONY: native
native: setup ## Build the libraries that watch driver calls, gpucheck/native/*.elf
	$(BIN)/python -m ci.native

.PHONY: clean
clean: ## Remove what was built
	rm -rf $(VENV) dist build

# Two commands do everything on a fresh machine: `make demo` and `make test`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test check chaos bench bench-extras gpu clean help

help:  ## Show what there is.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(STAMP)  ## Build .venv with the exact versions of requirements.lock.

# face-alignment wants the GUI build of OpenCV, which needs libGL and fights the headless one for
# the same folder; so it comes without its dependencies, all of which are in the lock.
$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13) and "Python 3.11 or 3.12 is needed: make setup PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps face-alignment==1.5.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

demo: $(STAMP)  ## Draw a corpus, train, evaluate, serve, report: the whole life of a model.
	$(BIN)/visage demo

test: $(STAMP)  ## Run all tests but the chaos runs.
	$(BIN)/python -m pytest -m "not chaos" --durations=12 --durations-min=8

chaos: $(STAMP)  ## Kill processes for real; most of an hour.
	$(BIN)/python -m pytest -m chaos

check: $(STAMP)  ## Format, lint, types, and which package may import which.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@test ! -e platform/__init__.py || { echo "platform/__init__.py shadows Python's own module: delete it"; exit 1; }

bench: $(STAMP)  ## Measure and print; nothing is asserted.
	$(BIN)/python -m tests.bench

bench-extras:  ## Install what the feed is compared with, in an environment of its own.
	test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -c 'import tomllib; print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["bench"]))' > .venv-bench/bench.txt
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r .venv-bench/bench.txt

gpu: $(STAMP)  ## Train the presets on a GPU in fp32 and fp16 and write what was measured.
	$(BIN)/python -m tests.bench --gpu

clean:  ## Remove the environment and the workspace.
	rm -rf $(VENV) .venv-bench workspace

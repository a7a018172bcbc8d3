# make demo | test | lint | bench | clean – each sets up what it needs in .venv first; a second call starts at once.
# Needs Python >= 3.11 with venv, g++ and make. PYTHON=/path/to/python picks an interpreter.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench clean

PY := .venv/bin/python
RUN := .venv/.ready-run
DEV := .venv/.ready-dev
BENCH := .venv/.ready-bench
CACHE := $(CURDIR)/.make

# Nothing is kept outside this folder.
export PIP_CACHE_DIR := $(CACHE)/pip
export MPLCONFIGDIR := $(CACHE)/matplotlib
export HF_HOME := $(CACHE)/huggingface
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help:
	@sed -n '1,2s/^# //p' Makefile

demo: $(RUN)
	$(PY) -m dovetail demo --out out/demo

test: $(DEV)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --maxprocesses 8

lint: $(DEV)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

bench: $(BENCH)
	@failed=; for script in bench/*.py; do echo "== $$script"; $(PY) "$$script" || failed="$$failed $$script"; done; \
	[ -z "$$failed" ] || { echo "could not run:$$failed" >&2; exit 1; }

setup: $(DEV)

clean:
	rm -rf .venv .make out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis dovetail/runtime/kernels/_build dovetail/crossbar/kernels/_build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# .venv/.unfinished says that an installation was interrupted, .venv/.folder where it was made: if not here, start again.
MOVED := [ -e .venv/.folder ] && [ "$$(cat .venv/.folder)" != "$(CURDIR)" ]
$(shell if $(MOVED); then rm -f $(RUN) $(DEV) $(BENCH); fi)

# Of hls4ml only the headers of its wheel are used, hence without what it depends on.
# torch goes first and by itself, so that whichever build of exactly this version pip finds nearest is the one used.
$(RUN): pyproject.toml hatch_build.py
	@if [ -e .venv/.unfinished ] || { $(MOVED); } || ! $(PY) -m pip --version >/dev/null 2>&1; then $(call make_venv); fi
	@touch .venv/.unfinished
	$(PY) -m pip install --quiet 'torch==2.13.0'
	$(PY) -m pip install --quiet --editable '.[torch]'
	@rm -rf .venv/.unfinished '$(CACHE)/pip'; printf %s "$(CURDIR)" > .venv/.folder; touch $@

$(DEV) $(BENCH): .venv/.ready-%: $(RUN)
	@touch .venv/.unfinished
	$(PY) -m pip install --quiet $$($(PY) -c "$(REQUIREMENTS)" $*)
	$(PY) -m pip install --quiet --no-deps hls4ml==1.3.0
	@rm -rf .venv/.unfinished '$(CACHE)/pip'; touch $@

REQUIREMENTS := import sys, tomllib; p = tomllib.load(open('pyproject.toml', 'rb')); \
  print(*p['project']['optional-dependencies'][sys.argv[1]])

define make_venv
  rm -rf .venv; \
  for python in $(if $(PYTHON),"$(PYTHON)",python3 python3.13 python3.12 python3.11); do \
    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && found="$$python" && break; \
  done; \
  [ -n "$${found:-}" ] || { echo "dovetail needs Python 3.11 or newer, and found $$("$(or $(PYTHON),python3)" --version 2>/dev/null || echo none)." \
    "Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 2; }; \
  "$$found" -c 'import ensurepip, venv' 2>/dev/null || { echo "$$("$$found" --version) has no venv module." \
    "Install it (on Debian and Ubuntu: apt install python3-venv) and run make again." >&2; exit 2; }; \
  echo "Setting up .venv with $$("$$found" --version): a few minutes, once." >&2; \
  mkdir .venv; touch .venv/.unfinished; "$$found" -m venv .venv
endef

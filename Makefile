# persona_rm: `make` without arguments lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
STACK ?= auto
PYTHON ?=
TORCH_INDEX ?=
PYTEST_ARGS ?=
# Not $(abspath), which splits a path with spaces. Recipes quote "$(RUN)" for the same reason. If VENV is a link, its target
# is used (see recipes/install/install.sh), which exists only after `make install`: so RUN is read when a recipe runs.
HERE := $(if $(filter /%,$(VENV)),$(VENV),$(CURDIR)/$(VENV))
RUN = $(shell if [ -L "$(HERE)" ]; then readlink -f "$(HERE)"; else echo "$(HERE)"; fi)/bin
CALLERS_PATH := $(PATH)

# ninja and g++ are called by name when DeepSpeed builds its CPU Adam, so the environment's tools come first.
export PATH = $(RUN):$(CALLERS_PATH)
export HF_HUB_OFFLINE ?= 1
export RAY_USAGE_STATS_ENABLED ?= 0
export VLLM_NO_USAGE_STATS ?= 1
export VENV STACK PYTHON TORCH_INDEX

.PHONY: help install install-dev quickstart simulator test test-fast test-slow lint format wheel clean distclean

help: ## show this list
	@echo "First time here: make quickstart"
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'
	@echo
	@echo "Settings: STACK=cpu|gpu (default: gpu where nvidia-smi works), PYTHON=python3.11|python3.12, VENV=.venv,"
	@echo "          TORCH_INDEX=https://download.pytorch.org/whl/cpu (on a laptop: torch without CUDA, 3 GB less),"
	@echo "          PYTEST_ARGS='-k space -x' (handed to pytest)"

install: ## make .venv and install the pinned set, once (2 to 6 minutes, 4 to 7 GB)
	@recipes/install/install.sh

install-dev: ## the same with pytest, ruff, mypy, pre-commit
	@recipes/install/install.sh --dev

quickstart: install ## the whole product, small: threads in, a policy trained on each user's reward out (15 minutes)
	@"$(RUN)/persona-rm" run recipes/quickstart.yaml

simulator: install ## the published figures on the simulator (up to 60 minutes)
	@"$(RUN)/persona-rm" run recipes/simulator.yaml

test: install-dev ## the whole suite: the fast part, then the slow part
	@$(MAKE) --no-print-directory test-fast
	@$(MAKE) --no-print-directory test-slow

# Two processes, each with half of the tests; the first that is ready takes over tests of the other.
# PYTEST_ARGS="-n 8" uses more, PYTEST_ARGS="-n 0" (for -x, --pdb) none.
test-fast: install-dev ## unit and contract tests in two processes (a minute and a half)
	@"$(RUN)/python" -m pytest -q -m "not slow" -n 2 --dist worksteal $(PYTEST_ARGS)

# A trainer or an engine waits for its own processes at times, so two tests fill two cores. Tests of one file run in one
# process. (`--dist loadgroup` does nothing with pytest 9: it writes a private attribute that pytest no longer reads.)
# The files run in the order of tests/conftest.py, not by their number of tests, which says nothing about their time.
test-slow: install-dev ## real DPO, PPO, vLLM, Ray and DeepSpeed on the CPU (less than half an hour)
	@"$(RUN)/python" -m pytest -q -m slow -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

lint: install-dev ## ruff (rules and format) and mypy --strict
	@"$(RUN)/python" -m ruff check .
	@"$(RUN)/python" -m ruff format --check .
	@"$(RUN)/python" -m mypy

format: install-dev ## let ruff fix and format
	@"$(RUN)/python" -m ruff check --fix .
	@"$(RUN)/python" -m ruff format .

wheel: install-dev ## dist/persona_rm-*.whl, plugins and recipes inside
	@"$(RUN)/python" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean: ## remove caches and build outputs; runs/ and .venv stay
	@rm -rf dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find persona_rm plugins recipes tests -type d -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## clean, and remove runs/ and the environment
	@rm -rf runs "$$(readlink -f "$(VENV)")" "$(VENV)"

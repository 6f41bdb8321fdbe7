# Every target sets up .venv by itself when it is missing or out of date. All paths are relative, so
# that the folder's own path may contain spaces.
#
#   PYTHON=/path/to/python3.12   which Python to build .venv with (default: the newest one found)
#   ARGS="-k budget"             further arguments: of pytest for test, test-fast, test-pythons and
#                                check; of the program for demo, ui and bench

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
PY := $(VENV)/bin/python
# What the demo, the UI and the commands need, and what the tests and linters need besides.
STAMP := $(VENV)/headrace-demo.stamp
DEV_STAMP := $(VENV)/headrace-dev.stamp
PYTHONS := 3.11 3.12 3.13
ARGS ?=
# Four at a time, also on two cores: many tests wait for a process that they started. Each of the
# four imports all tests: their bytecode is kept, even where PYTHONDONTWRITEBYTECODE is set.
PYTEST_ALONE := PYTHONDONTWRITEBYTECODE= $(PY) -m pytest
PYTEST := $(PYTEST_ALONE) -n 4 --dist loadfile --no-loadscope-reorder

.PHONY: help install setup demo ui test test-fast test-pythons check lint format bench pictures instance clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

$(STAMP): pyproject.toml constraints.txt local/setup.sh
	@sh local/setup.sh $(VENV) $(STAMP) demo

$(DEV_STAMP): pyproject.toml constraints.txt local/setup.sh
	@sh local/setup.sh $(VENV) $(DEV_STAMP) dev
	@touch $(STAMP)

install: $(STAMP) ## .venv with what the demo, the UI and ./headrace need, at the versions of constraints.txt

setup: $(DEV_STAMP) ## the same, and what the tests, the linters and the docs need

# An emulated AWS is a package of the tests.
demo: $(if $(filter aws,$(ARGS)),$(DEV_STAMP),$(STAMP)) ## two daily runs against a local API at its limit, read back from a local S3
	@$(PY) -m local demo $(ARGS)

ui: $(STAMP) ## Dagster's UI over the same services, until Ctrl-C (ARGS="--port 3001")
	@$(PY) -m local ui $(ARGS)

test: $(DEV_STAMP) ## all tests
	$(PYTEST) $(ARGS)

test-fast: $(DEV_STAMP) ## two thirds of the tests: under two minutes
	$(PYTEST) -m "not slow" $(ARGS)

test-pythons: ## test-fast with each of Python 3.11, 3.12 and 3.13 that is installed
	@MAKE="$(MAKE)" sh local/pythons.sh $(PYTHONS)

lint: $(DEV_STAMP) ## format and rules (ruff), types (mypy strict)
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

# While mypy has one core, the other one compiles the tests.
check: $(DEV_STAMP) ## lint, then all tests with warnings as errors: what CI runs
	@$(PYTEST_ALONE) --collect-only -qq >/dev/null 2>&1 & \
	$(MAKE) --no-print-directory lint; failed=$$?; wait; exit $$failed
	$(PYTEST) $(ARGS)

format: $(DEV_STAMP) ## put the code into the form that lint expects
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

bench: $(DEV_STAMP) ## measure the pipeline on this machine
	$(PY) -m benchmarks $(ARGS)

pictures: $(DEV_STAMP) ## take the pictures of the README: the demo in a terminal, Dagster's UI in Chromium
	$(PY) docs/images/terminal.py
	$(PY) docs/images/make.py

instance: $(STAMP) ## $DAGSTER_HOME, by default .dagster/, ready for several processes
	@$(PY) -m local instance

clean: ## remove .venv and .venvs, what the demo and the UI have kept, and all caches
	rm -rf $(VENV) .venvs .local .dagster build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: docs

docs: $(DEV_STAMP) ## the documentation's site in build/site; fails on a broken link (ARGS=serve shows it)
	@$(PY) -m docsite $(ARGS)

.PHONY: lake query load

lake: $(STAMP) ## what is committed in the lake (ARGS="igdb/games --last 3")
	@./headrace lake $(ARGS)

query: $(STAMP) ## SQL over the committed files (SQL="SELECT count(*) FROM igdb.games_current")
	@./headrace query "$(SQL)" $(ARGS)

load: $(STAMP) ## materialize partitions (ARGS="igdb/games --days 2026-11-01...2026-11-07")
	@./headrace load $(ARGS)

.PHONY: check-source new-source catalogue validate

# As they are given: make would read a $ in them, and a shell quotes.
unexport URL FROM CURL SOURCE
new-source: export NEW_SOURCE_URL := $(value URL)
new-source: export NEW_SOURCE_FROM := $(value FROM)
new-source: export NEW_SOURCE_CURL := $(value CURL)

check-source: $(STAMP) ## look at a source's API through its YAML (SOURCE=usgs, ARGS="--endpoint …")
	@$(PY) -m sourcetool check "$(SOURCE)" $(ARGS)

new-source: $(STAMP) ## propose the YAML of an API (URL=https://…, FROM=manifest.yaml, CURL='curl …', ARGS="--name …")
	@$(PY) -m sourcetool new $(ARGS)

validate: $(STAMP) ## whether all sources of HEADRACE_SOURCES load: exit code 1 if one does not
	@$(PY) -m sourcetool validate

catalogue: $(STAMP) ## what converts of a folder of manifests, and each row against Airbyte's runtime (FOLDER=…)
	@$(PY) -m sourcetool catalogue "$(FOLDER)"
	$(PY) -m tests.catalogue "$(FOLDER)" $(ARGS)

# The commands of this project; `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := .venv/bin
READY := .venv/.ready
CODE := $(wildcard schemas imaging stores streams query_api ops tests bench)
COMPILE = $(BIN)/uv pip compile pyproject.toml --extra cpu --generate-hashes --no-header --no-annotate -q
# How many tests at a time: they use memory, too, so no more than four on larger machines.
JOBS ?= $(shell cores=$$(nproc); echo $$((cores < 4 ? cores : 4)))
TESTS ?=
WITHOUT_SERVERS := tests/unit tests/simulation

# An option that is set to 0 counts as not set.
flag = $(if $(filter-out 0,$(1)),$(2))

IV2 := .venv-iv2

.PHONY: help up stack test fuzz proof-iv2 check format chaos bench requirements clean packages

help: ## List the commands.
	@sed -n 's/^\([a-z0-9.-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22
	@echo
	@echo "  make up ONCE=1                ends after the result table; fails below 98 % found"
	@echo "  make up PHOTOS=DIR            takes the pictures in DIR instead of generated ones"
	@echo "  make up REPORT=FILE           writes the figures to FILE as JSON"
	@echo "  make stack INDEX_WORKERS=2    starts that many index workers; KEEP=1 goes on with the last data"
	@echo "  make stack DATABASE=mysql     takes MySQL instead of MariaDB; so does chaos, where mysql is the default"
	@echo "  make stack OBJECTS=versitygw  takes versitygw instead of MinIO; so does chaos"
	@echo "  make chaos FAULTS=all         has full disks and wrong clocks too (root, cc), or only FAULTS=kill,hang"
	@echo "  make chaos EVENTS=lossy       loses, doubles and reorders events; none: there are none; once: no second net"
	@echo "  make bench SCALE=1000000      measures the vector index among so many made-up vectors instead"
	@echo "  make test TESTS=PATH          runs only these tests"

up: $(READY) ## Start the embedded stack with a gallery, show that it finds copies; Ctrl-C stops it.
	@exec $(BIN)/twinlens up $(call flag,$(ONCE),--once) $(if $(PHOTOS),--photos '$(PHOTOS)') $(if $(REPORT),--report '$(REPORT)')

stack: $(READY) packages ## Start the full stack on the real servers without Docker; Ctrl-C stops it.
	@exec $(BIN)/python -m tests.stack $(if $(INDEX_WORKERS),--index-workers $(INDEX_WORKERS)) $(if $(DATABASE),--database $(DATABASE)) \
	    $(if $(OBJECTS),--objects $(OBJECTS)) $(call flag,$(KEEP),--keep)

test: $(READY) packages ## Run all tests side by side: while the servers are installed, those that need none.
ifneq ($(TESTS),)
	@exec $(BIN)/python -m pytest $(TESTS)
else
	$(BIN)/python -m tests.stack install & install=$$!; trap 'kill $$install 2>/dev/null || true' EXIT; \
	$(BIN)/python -m pytest $(WITHOUT_SERVERS) -n $(JOBS) --dist loadscope --cov --cov-report= --cov-fail-under=0; \
	wait $$install
# In the groups and the order that tests/conftest.py says: the longest first.
	$(BIN)/python -m pytest tests $(WITHOUT_SERVERS:%=--ignore=%) -n $(JOBS) --dist loadscope \
	    --no-loadscope-reorder --cov --cov-append --cov-report=term:skip-covered
endif

fuzz: $(READY) ## Try what chance makes on decoders, messages, URLs and the HTTP port, SECONDS=60 each.
	TWINLENS_FUZZ_S=$(or $(SECONDS),60) $(BIN)/python -m pytest tests/unit -m fuzz -n $(JOBS)

proof-iv2: $(IV2)/.ready ## Hold an export of the predecessor's network to iv2 itself; PyTorch takes 5 GB.
	$(IV2)/bin/python -m pytest tests/proof/iv2.py

check: $(READY) ## Check style, format and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(CODE)
	$(BIN)/lint-imports

format: $(READY) ## Put the code into its format.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

chaos: $(READY) packages ## Kill, hang and clog components at random under load, compare the end state; SEED=N replays.
	@exec $(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(DATABASE),--database $(DATABASE)) \
	    $(if $(OBJECTS),--objects $(OBJECTS)) $(if $(FAULTS),--kinds $(FAULTS)) $(if $(EVENTS),--events $(EVENTS)) $(ARGS)

bench: $(READY) packages ## Measure everything on real servers, each figure beside its ceiling; ARGS=--quick for a smoke run.
	@exec $(BIN)/python -m bench$(if $(SCALE),.scale $(SCALE)) $(ARGS)

requirements: $(READY) ## Compile requirements.txt, and the images' subset of it, anew from pyproject.toml.
	$(COMPILE) --group dev -o requirements.txt
	$(COMPILE) -c requirements.txt -o ops/compose/requirements.txt
	sed -n '/^requires/s/.*\["\(.*\)"\]/\1/p' pyproject.toml | \
	    $(BIN)/uv pip compile - --generate-hashes --no-header --no-annotate -q -o ops/compose/build-requirements.txt

clean: ## Remove the environment, caches and what the stacks left behind.
	rm -rf .venv $(IV2) .stack .twinlens build .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

packages:
	@tests/stack/packages.sh

.venv: $(READY) ## Make the Python environment.

$(IV2)/.ready: $(READY)
	$(BIN)/python -m venv $(IV2)
	$(BIN)/uv pip install -q --python $(IV2)/bin/python --require-hashes -r requirements.txt
	$(BIN)/uv pip install -q --python $(IV2)/bin/python -e .[iv2]
	@touch $@

# The first interpreter of 3.12 or later that runs (pyenv's shims may exist and not run).
$(READY): requirements.txt pyproject.toml
	@python=; for candidate in python3.12 python3.13 python3.14 python3 python; do \
	    if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then \
	        python=$$candidate; break; \
	    fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "error: Twinlens needs Python 3.12 or later, and none was found on PATH" >&2; exit 1; \
	fi; \
	if [ ! -x $(BIN)/python ]; then \
	    $$python -m venv .venv || { echo "error: $$python can't make an environment; on Debian: apt-get install python3-venv" >&2; exit 1; }; \
	fi
	$(BIN)/python -m pip install -q --disable-pip-version-check uv
# Compiled now, or each start of a process may compile anew what it imports, for seconds.
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.txt
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -e .
	@touch $@

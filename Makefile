# The commands of this project; `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := .venv/bin
READY := .venv/.ready
CODE := $(wildcard schemas imaging stores streams query_api ops tests bench)
COMPILE = $(BIN)/uv pip compile pyproject.toml --extra cpu --extra tracing --generate-hashes --no-header --no-annotate -q
# How many tests at a time: they use memory, too, so no more than four on larger machines.
JOBS ?= $(shell cores=$$(nproc); echo $$((cores < 4 ? cores : 4)))
# Tests on servers wait much, for servers, timeouts and partitions: two more of them go side by side than there are cores.
SERVER_JOBS ?= $(shell echo $$(($(JOBS) + 2)))
TESTS ?=
WITHOUT_SERVERS := tests/unit tests/simulation

# An option that is set to 0 counts as not set.
flag = $(if $(filter-out 0,$(1)),$(2))

# TypeScript's checker and a linter for the pages' JavaScript, by what deno.json says.
DENO := DENO_DIR=.deno_cache DENO_NO_UPDATE_CHECK=1 $(BIN)/deno
PAGES := query_api/web query_api/docs_page

IV2 := .venv-iv2

.PHONY: help up serve worker shell stack unit test coverage fuzz proof-iv2 proof-compose check format chaos bench accuracy requirements settings clean \
    packages

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
	@echo "  make test TESTS=PATH          runs only these tests, and installs only what they need"
	@echo "  make test SERVER_JOBS=4       has four tests on servers at a time, however many cores there are"

up: $(READY) ## Start the embedded stack with a gallery, show that it finds copies; Ctrl-C stops it.
	@exec $(BIN)/twinlens up $(call flag,$(ONCE),--once) $(if $(PHOTOS),--photos '$(PHOTOS)') $(if $(REPORT),--report '$(REPORT)')

# The settings of what `make up` runs, for the rest of a recipe.
RUNNING = [ -s .twinlens/environment ] || { echo "error: no embedded stack runs here; start it with: make up" >&2; exit 1; }; \
	set -a; . .twinlens/environment; set +a;
RELOADING = $(BIN)/watchfiles --filter
SOURCES := schemas imaging stores streams query_api ops

serve: $(READY) ## Beside `make up`: serve the page and the API from these sources on PORT=6201, anew at each change.
	@$(RUNNING) export TWINLENS_API__PORT=$(or $(PORT),6201); echo "http://127.0.0.1:$$TWINLENS_API__PORT"; \
	exec $(RELOADING) default '$(BIN)/twinlens api' $(SOURCES)

worker: $(READY) ## Beside `make up`: one more worker, ROLE=ingest, requests or index, anew at each change.
	@$(RUNNING) export TWINLENS_INGEST__HEALTH_PORT=0 TWINLENS_REQUESTS__HEALTH_PORT=0 TWINLENS_INDEX__HEALTH_PORT=0; \
	exec $(RELOADING) python '$(BIN)/twinlens worker $(or $(ROLE),$(error say ROLE=ingest, requests or index))' $(SOURCES)

shell: $(READY) ## Beside `make up`: Python with its catalog, vectors and objects at hand.
	@$(RUNNING) exec $(BIN)/python -i -m tests.harness.stack.shell

stack: $(READY) packages ## Start the full stack on the real servers without Docker; Ctrl-C stops it.
	@exec $(BIN)/python -m tests.harness.stack $(if $(INDEX_WORKERS),--index-workers $(INDEX_WORKERS)) $(if $(DATABASE),--database $(DATABASE)) \
	    $(if $(OBJECTS),--objects $(OBJECTS)) $(call flag,$(KEEP),--keep)

unit: $(READY) ## Run the tests that need no servers and take no time: what to run while one writes.
	@exec $(BIN)/python -m pytest tests/unit -m 'not slow and not fuzz' -q -p no:schemathesis -n $(JOBS) --dist loadscope

test: $(READY) ## Run all tests side by side: while the servers are installed, those that need none.
	@tests/harness/stack/packages.sh $(TESTS)
ifneq ($(TESTS),)
	@exec $(BIN)/python -m pytest $(TESTS)
else
	$(BIN)/python -m tests.harness.stack install & install=$$!; trap 'kill $$install 2>/dev/null || true' EXIT; \
	$(BIN)/python -m pytest $(WITHOUT_SERVERS) -p no:schemathesis -n $(JOBS) --dist loadscope --cov --cov-report= --cov-fail-under=0; \
	wait $$install
# In the groups and the order that tests/conftest.py says: the longest first.
	$(BIN)/python -m pytest tests $(WITHOUT_SERVERS:%=--ignore=%) -n $(SERVER_JOBS) --dist loadscope \
	    --no-loadscope-reorder --cov --cov-append --cov-report=term:skip-covered
endif

coverage: $(READY) ## Show what TESTS=PATH cover, those without servers by default: build/coverage/index.html.
	$(BIN)/python -m pytest $(or $(TESTS),$(WITHOUT_SERVERS)) -q -n $(JOBS) --dist loadscope \
	    --cov --cov-report=html:build/coverage --cov-report=term:skip-covered --cov-fail-under=0

fuzz: $(READY) ## Try what chance makes on decoders, messages, URLs and the HTTP port, SECONDS=60 each.
	TWINLENS_FUZZ_S=$(or $(SECONDS),60) $(BIN)/python -m pytest tests/unit -m fuzz -n $(JOBS)

proof-iv2: $(IV2)/.ready ## Hold an export of the predecessor's network to iv2 itself; PyTorch takes 5 GB.
	$(IV2)/bin/python -m pytest tests/proof/iv2.py

proof-compose: $(READY) packages ## Try docker-compose.yaml on the Docker engine that runs here; ARGS=--help.
	@exec $(BIN)/python -m tests.compose $(ARGS)

check: $(READY) ## Check style, format and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(CODE)
	$(BIN)/lint-imports
	$(DENO) lint -q $(PAGES)
	$(DENO) check -q $(PAGES)

format: $(READY) ## Put the code into its format.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

chaos: $(READY) packages ## Kill, hang and clog components at random under load, compare the end state; SEED=N replays.
	@exec $(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(DATABASE),--database $(DATABASE)) \
	    $(if $(OBJECTS),--objects $(OBJECTS)) $(if $(FAULTS),--kinds $(FAULTS)) $(if $(EVENTS),--events $(EVENTS)) $(ARGS)

bench: $(READY) packages ## Measure everything on real servers, each figure beside its ceiling; ARGS=--quick for a smoke run.
	@exec $(BIN)/python -m bench$(if $(SCALE),.scale $(SCALE)) $(ARGS)

accuracy: $(READY) ## Measure what is found and rightly called a copy, among the photographs in PHOTOS=DIR; ARGS=--help.
	@exec $(BIN)/python -m bench.accuracy $(if $(PHOTOS),'$(PHOTOS)',$(error say PHOTOS=DIR)) $(ARGS)

requirements: $(READY) ## Compile requirements.txt, and the images' subset of it, anew from pyproject.toml.
	$(COMPILE) --extra embedded --group dev -o requirements.txt
	$(COMPILE) -c requirements.txt -o ops/compose/requirements.txt
	sed -n '/^requires/s/.*\["\(.*\)"\]/\1/p' pyproject.toml | \
	    $(BIN)/uv pip compile - --generate-hashes --no-header --no-annotate -q -o ops/compose/build-requirements.txt

settings: $(READY) ## Write config.yaml, and what else lists the settings, anew from schemas/settings.py.
	$(BIN)/python -m schemas.settings_reference

clean: ## Remove the environment, caches and what the stacks left behind.
	rm -rf .venv $(IV2) .stack .twinlens build .coverage .mypy_cache .ruff_cache .pytest_cache .deno_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

packages:
	@tests/harness/stack/packages.sh

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

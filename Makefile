# Two commands do everything on a fresh machine: `make demo` and `make test`. Both set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
ARGS ?=

.PHONY: demo example page test check format lock bench clean

## A whole network on this machine: three peers, one of them lying, compute a picture. ARGS=--keep stays up.
demo: $(VENV)/.ready $(if $(findstring --browser,$(ARGS)),page)
	$(BIN)/cc-node demo $(ARGS)

## Run an example with real inputs on a network of this machine: make example NAME=path_trace; examples/ has the names.
example: $(VENV)/.ready-demos
	$(BIN)/python -m examples.run $(NAME) $(ARGS)

## The web page, unless it is current; `cc-signaling` serves it.
page: $(VENV)/.node
	@$(BIN)/python web_peer/build_page.py

## Every check and every test. Rules and simulations are CPU alone and share the cores; what has clocks and sockets does not.
test: check page
	$(BIN)/python -m pytest --numprocesses=2 --dist=worksteal $(ARGS) tests/simulations tests/mutants tests/protocol; \
	first=$$?; $(BIN)/python -m pytest $(ARGS) tests/node tests/signaling tests/interop && exit $$first

## Format, lint, types and layers, in Python and TypeScript; and the TypeScript's own tests.
check: $(VENV)/.ready-dev $(VENV)/.node
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(BIN)/python web_peer/build_page.py check
	@$(BIN)/python web_peer/build_page.py test

format: $(VENV)/.ready-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

## All that is measured, ours beside what people would compare it with; ARGS=--list says what. Tables go to docs/benchmarks.md.
bench: $(VENV)/.ready-bench page
	$(BIN)/python -m benchmarks.run $(ARGS)

## Pin what pyproject.toml asks for, with hashes and without any address.
LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --upgrade \
	--no-header --no-annotate --no-emit-index-url --quiet
lock:
	$(LOCK) pyproject.toml --output-file requirements.lock
	$(LOCK) pyproject.toml --group dev --extra build --output-file requirements-dev.lock
	$(LOCK) pyproject.toml --extra demos --output-file requirements-demos.lock
	$(LOCK) --group node --output-file requirements-node.lock
	$(LOCK) --group bench --constraint requirements-dev.lock --output-file requirements-bench.lock

clean:
	rm -rf $(VENV) web_peer/node_modules web_peer/dist out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "CrowdCompute needs Python 3.11 or newer; say which with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "python3 cannot make environments; on Debian: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.ready: requirements.lock pyproject.toml | $(BIN)/python
	@echo "setting up (about 15 s the first time)"
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps -e .
	@touch $@

$(VENV)/.ready-dev: requirements-dev.lock pyproject.toml | $(BIN)/python
	@echo "setting up for tests (about 30 s the first time)"
	@$(PIP) --require-hashes -r requirements-dev.lock
	@$(PIP) --no-deps -e .
	@touch $@ $(VENV)/.ready

$(VENV)/.ready-demos: requirements-demos.lock | $(VENV)/.ready
	@echo "fetching the packages whose data the examples read"
	@$(PIP) --require-hashes -r requirements-demos.lock
	@touch $@

# What we are compared with; nothing of it is needed to use or test ours.
$(VENV)/.ready-bench: requirements-bench.lock | $(VENV)/.ready-dev
	@echo "fetching Dask, Ray, Parsl and Celery (90 MB, the first time)"
	@$(PIP) --require-hashes -r requirements-bench.lock
	@touch $@

# Building the page needs a newer Node than Debian 12 has; PyPI has one that needs no installer.
$(VENV)/.node: requirements-node.lock web_peer/build_page.py | $(VENV)/.ready-dev
	@if $(BIN)/python web_peer/build_page.py needs-node; then \
		echo "fetching Node (60 MB, the first time)"; $(PIP) --require-hashes -r requirements-node.lock; fi
	@touch $@

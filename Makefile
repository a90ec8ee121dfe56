# The two commands are `make serve` and `make test`. Both set up .venv on the first run, and again when a lock file changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q install --require-virtualenv
PYTEST_ARGS ?=
SCREENSHOTS_ARGS ?=
BENCH_ARGS ?=
PEERS := loadtests/.peers
MICRO_ARGS ?=
LOCUST_ARGS ?=
LOCUST_HOST ?= http://127.0.0.1:8080
.DEFAULT_GOAL := help

.PHONY: help serve test lint fmt wheel lock lock-peers screenshots bench bench-peers bench-quick bench-micro locust clean

help:  ## show this help
	@awk -F ':.*##' '/^[a-z-]+:.*##/ {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: $(VENV)/.serve  ## set up, migrate, and run the gateway on http://127.0.0.1:8080
	@$(BIN)/gateway migrate --quiet
	@exec $(BIN)/gateway serve

test: $(VENV)/.dev lint  ## set up, lint, check types and imports, run all tests
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.dev  ## ruff, mypy (strict), import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

fmt: $(VENV)/.dev  ## format the code, and mend what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(VENV)/.serve  ## build the gateway's wheel into dist/
	$(BIN)/python -m hatchling build -t wheel -d dist

screenshots: $(VENV)/.dev  ## picture every page of the console into docs/images/
	$(BIN)/python -m tests.control.console.screenshots $(SCREENSHOTS_ARGS)

bench: $(VENV)/.bench  ## measure beside nginx and Envoy, about half an hour (needs wrk and nginx: apt-get install wrk nginx-light); BENCH_ARGS=--list says what
	$(BIN)/python -m loadtests.bench $(BENCH_ARGS)

bench-peers: $(VENV)/.bench $(PEERS)/.litellm $(PEERS)/.portkey  ## measure beside LiteLLM's proxy and Portkey's gateway too, an hour (needs npm and 1 GB as well)
	$(BIN)/python -m loadtests.bench --only direct --only embedded --only shared --only nginx --only envoy --only portkey --only litellm \
	  --name peers $(BENCH_ARGS)

bench-quick: $(VENV)/.bench  ## a short look at what a change costs, under two minutes
	$(BIN)/python -m loadtests.bench --only direct --only embedded --only shared --only nginx --only envoy \
	  --case small --case events --case refused --rounds 3 --seconds 2 --name quick $(BENCH_ARGS)

bench-micro: $(VENV)/.dev  ## the steps of a call one by one, in microseconds (MICRO_ARGS=--benchmark-autosave, then --benchmark-compare)
	$(BIN)/python -m pytest loadtests/micro $(MICRO_ARGS)

locust: $(VENV)/.locust  ## load for any deployment, with a web page: LOAD_KEYS=sk-... make locust LOCUST_HOST=https://...
	@echo "Load for $(LOCUST_HOST): open http://127.0.0.1:8089, stop with Ctrl-C."
	@echo "It needs LOAD_KEYS=sk-... or LOAD_KEYS_FILE; LOAD_MODELS=a=3,b=1 and more are listed in loadtests/locustfile.py and on the page."
	@$(BIN)/locust -f loadtests/locustfile.py --host $(LOCUST_HOST) --web-host 127.0.0.1 --users 20 --spawn-rate 5 $(LOCUST_ARGS)

lock:  ## resolve the dependencies again (needs uv on the PATH)
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-annotate --custom-compile-command "make lock" -q -o requirements.lock
	uv pip compile pyproject.toml --group build --group dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-annotate --custom-compile-command "make lock" -q -o requirements-dev.lock
	uv pip compile --group pyproject.toml:build --constraint requirements-dev.lock --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --custom-compile-command "make lock" -q -o requirements-build.lock
	uv pip compile pyproject.toml --group build --group dev --group bench --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --custom-compile-command "make lock" -q -o requirements-bench.lock
	uv pip compile --group pyproject.toml:locust --constraint requirements-dev.lock --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --custom-compile-command "make lock" -q -o requirements-locust.lock

lock-peers:  ## resolve again what bench-peers stands beside (needs uv and npm on the PATH)
	uv pip compile loadtests/litellm.in --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-annotate --custom-compile-command "make lock-peers" -q -o loadtests/requirements-litellm.lock
	rm -f loadtests/portkey/package-lock.json
	cd loadtests/portkey && npm install --package-lock-only --ignore-scripts --no-audit --no-fund

clean:  ## remove .venv and every cache (the data folder stays)
	rm -rf $(VENV) $(PEERS) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 ...")'
	@echo "Setting up $(VENV) (once) ..."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.serve: requirements.lock requirements-build.lock pyproject.toml | $(BIN)/python
	@echo "Installing the gateway's dependencies ..."
	@$(PIP) --require-hashes -r requirements.lock -r requirements-build.lock
	@$(PIP) --no-build-isolation --no-deps -e .
	@touch $@

$(VENV)/.bench: requirements-bench.lock $(VENV)/.dev
	@echo "Installing what the benchmark needs ..."
	@$(PIP) --require-hashes -r requirements-bench.lock
	@touch $@

$(VENV)/.locust: requirements-locust.lock | $(BIN)/python
	@echo "Installing Locust ..."
	@$(PIP) --require-hashes -r requirements-locust.lock
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.serve
	@echo "Installing what the tests need ..."
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

$(PEERS)/.litellm: loadtests/requirements-litellm.lock
	@echo "Installing LiteLLM's proxy into an environment of its own (once, about a minute) ..."
	@rm -rf $(PEERS)/litellm
	@$(PYTHON) -m venv $(PEERS)/litellm
	@$(PEERS)/litellm/bin/python -m pip --disable-pip-version-check -q install --require-virtualenv --only-binary :all: --require-hashes -r $<
	@touch $@

$(PEERS)/.portkey: loadtests/portkey/package-lock.json
	@if command -v npm >/dev/null; then \
	  echo "Installing Portkey's gateway into a folder of its own (once) ..."; \
	  mkdir -p $(PEERS)/portkey && cp loadtests/portkey/package.json $< $(PEERS)/portkey && \
	  npm --prefix $(PEERS)/portkey ci --ignore-scripts --no-audit --no-fund --silent && touch $@; \
	else echo "npm is missing, so Portkey's gateway will be left out: apt-get install npm"; fi

# `make` alone lists what there is to run.
SHELL := /bin/bash
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
DIR    ?= demo
SECONDS ?= 600
CUTS   ?= 50

.DEFAULT_GOAL := help
.PHONY: help demo test check serve bench fuzz faults powercut failover score vectors lock clean

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Debian splits venv off python3: bring it where we may, else say what is missing.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "trace-node needs Python 3.11 or newer (PYTHON=... make ...)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) 2>/dev/null \
	  || { command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] \
	       && apt-get install -y -qq python3-venv >/dev/null && $(PYTHON) -m venv $(VENV); } \
	  || { echo "cannot make a virtual environment: install python3-venv"; exit 1; }
	@touch $@

$(VENV)/.runtime: $(VENV)/.made requirements/runtime.txt pyproject.toml
	@echo "setting up $(VENV) ..."
	@$(PIP) install --require-hashes -r requirements/runtime.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.txt
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

demo: $(VENV)/.runtime ## set up, tell the whole story on this machine, keep serving (ARGS=--once ends)
	@$(BIN)/trace-node demo $(ARGS)

test: $(VENV)/.dev check ## set up and run every check and test
	@$(BIN)/python -m pytest -q $(ARGS)

check: $(VENV)/.dev ## linters, types, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo >/dev/null || $(BIN)/lint-imports --no-logo

serve: $(VENV)/.runtime ## serve the center in DIR (default ./demo; `trace-node init` makes one)
	@$(BIN)/trace-node serve $(DIR) $(ARGS)

bench: $(VENV)/.dev ## measure the hot paths, each beside its limit
	@$(BIN)/python -m tests.bench $(ARGS)

fuzz: $(VENV)/.dev ## mutate input for every reader, for TRACE_NODE_FUZZ_SECONDS (300)
	@TRACE_NODE_FUZZ_SECONDS=$${TRACE_NODE_FUZZ_SECONDS:-300} \
	  $(BIN)/python -m pytest -q -s tests/fuzz $(ARGS)

# Patroni runs as the database's user, so with the system's Python.
.patroni/.made: requirements/failover.txt $(VENV)/.made
	@rm -rf .patroni
	@$(PIP) --python /usr/bin/python3 install --require-hashes --target .patroni -r $<
	@touch $@

failover: $(VENV)/.dev .patroni/.made ## break a cluster of databases under a working center (root, Debian; ten minutes)
	@$(BIN)/python -m tests.failover $(ARGS)

faults: $(VENV)/.dev ## break a center in every way we know, for SECONDS (600); CONTROLS=1 tests the tests
	@$(BIN)/python -m tests.faults.campaign $(if $(CONTROLS),--controls,--seconds $(SECONDS)) $(ARGS)

powercut: $(VENV)/.dev ## cut the power CUTS times (50), and in builds that leave out a sync
	@$(BIN)/python -m tests.faults.powercut --cuts $(CUTS) $(ARGS)

score: $(VENV)/.dev ## collect the scorecards that the campaigns wrote
	@$(BIN)/python -m tests.faults.campaign.score

lock: ## renew the hash-pinned requirements (needs uv)
	@cd requirements && uv pip compile ../pyproject.toml --group ../pyproject.toml:build --universal \
	  --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -o runtime.txt
	@cd requirements && uv pip compile --group ../pyproject.toml:s3 --universal \
	  --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -c runtime.txt -o s3.txt
	@cd requirements && uv pip compile ../pyproject.toml --group ../pyproject.toml:dev --universal \
	  --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -c runtime.txt -o dev.txt
	@cd requirements && uv pip compile --group ../pyproject.toml:failover --universal \
	  --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -o failover.txt

clean: ## remove what was set up and made (never a center's directory)
	@rm -rf $(VENV) .patroni .pytest_cache .mypy_cache .ruff_cache .hypothesis

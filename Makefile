# Everything a person or CI does. A fresh machine needs Python 3.11 or newer (with venv) and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
WHEELS := .cache/wheels
BENCH  := .venv-bench
ORACLE := .venv-oracle
RLLIB  := .venv-rllib
CODE   := rlops tests benchmarks

.PHONY: help setup wheels demo test check format docs golden baselines mutants oracle rllib image bench clean
.DELETE_ON_ERROR:

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-8s %s\n", $$1, $$2}'

setup: $(READY) ## create .venv from the lock; nothing to do when it is up to date

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " \
	  + sys.version.split()[0] + ": make PYTHON=python3.11 setup")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	$(BIN)/python -m pip check
	@touch $@

wheels: $(READY) ## bring the wheels that images are made of; nothing to do when they are here
	$(BIN)/python -m rlops.registry.wheels --into $(WHEELS)

demo: wheels ## show speed, learning, controllers, a day, its image, and a robustness report (minutes)
	RLOPS_WHEELS=$(CURDIR)/$(WHEELS) $(BIN)/python -m rlops.cli demo

test: wheels ## run every test
	RLOPS_CACHE_DIR=$(CURDIR)/.cache/compiled $(BIN)/python -m rlops.envs.warming
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: $(READY) ## formatting, lint and types
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy

format: $(READY) ## rewrite the code in the house format
	$(BIN)/ruff check --fix --select I $(CODE)
	$(BIN)/ruff format $(CODE)

docs: $(READY) ## write the tables of the families' READMEs anew
	$(BIN)/python -m rlops.envs.tables

golden: $(READY) ## record the golden files that are missing; a recorded one is never touched
	$(BIN)/python -m rlops.cli golden record

baselines: $(READY) ## train every agent over five seeds and write docs/baselines.md (a day; what is there is kept)
	$(BIN)/python -m rlops.cli baselines --ship
	$(BIN)/python -m rlops.cli baselines --ship --algo ppo --randomize full --only rlops/CartBalance-v0 \
	  --only rlops/DatacenterCooling-v0

mutants: $(READY) ## see that no mutation of the dynamics goes unnoticed, and no rebuild raises an alarm (hours)
	$(BIN)/python -m tests.mutants
	$(BIN)/python -m tests.mutants.rebuilds

oracle: $(ORACLE)/.ready ## compare the cooling plant with EnergyPlus (downloads 50 MB once)
	$(ORACLE)/bin/python -m pytest tests/envs/test_cooling_oracle.py

$(ORACLE)/.ready: requirements.lock pyproject.toml
	test -x $(ORACLE)/bin/python || $(PYTHON) -m venv $(ORACLE)
	$(ORACLE)/bin/python -m pip install --quiet --constraint requirements.lock -e ".[oracle]" pytest pytest-xdist hypothesis
	@touch $@

rllib: $(RLLIB)/.ready ## train with RLlib, beside the Gymnasium that it pins (minutes)
	$(RLLIB)/bin/python -m pytest tests/rllib tests/test_docs.py -k "rllib or scale.md"

$(RLLIB)/.ready: tests/rllib/requirements.txt pyproject.toml
	test -x $(RLLIB)/bin/python || $(PYTHON) -m venv $(RLLIB)
	$(RLLIB)/bin/python -m pip install --quiet -r tests/rllib/requirements.txt hatchling
	$(RLLIB)/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

image: $(READY) ## build the image of ID (default rlops/Dispatch-v2) with docker build, on the image BASE
	rm -rf .cache/image && mkdir -p .cache/image/wheels
	$(BIN)/python -m pip wheel --quiet --constraint requirements.lock --wheel-dir .cache/image/wheels .
	docker build --network none $(if $(BASE),--build-arg BASE=$(BASE)) --build-arg ID=$(or $(ID),rlops/Dispatch-v2) \
	  --file Dockerfile --tag rlops-environment .cache/image

bench: $(READY) $(BENCH)/.ready ## measure against peers (minutes, on a quiet machine)
	$(BENCH)/bin/python -m benchmarks.faces
	$(BIN)/python -m benchmarks.dispatch
	$(BIN)/python -m benchmarks.kernel_c
	$(BENCH)/bin/python -m benchmarks.cooling
	$(BIN)/python -m benchmarks.ppo
	$(BIN)/python -m benchmarks.randomization
	$(BENCH)/bin/python -m benchmarks.robotics
	$(BIN)/python -m benchmarks.startup
	$(BENCH)/bin/python -m benchmarks.remote

$(BENCH)/.ready: benchmarks/requirements.txt benchmarks/install_pufferlib.sh benchmarks/install_energyplus.sh
	test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet -r benchmarks/requirements.txt
	bash benchmarks/install_pufferlib.sh $(BENCH)
	bash benchmarks/install_energyplus.sh $(BENCH)
	@touch $@

clean: ## remove environments, caches and build products
	rm -rf $(VENV) $(BENCH) $(ORACLE) $(RLLIB) .cache build dist .hypothesis .pytest_cache .mypy_cache .ruff_cache
	find rlops tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

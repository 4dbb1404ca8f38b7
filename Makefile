# Everything this project can be asked to do. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Every process that a test starts loads what was compiled before, whatever the shell says; `make clean` removes it.
export PYTHONDONTWRITEBYTECODE =
# How many tests run at a time, each file in one place; WORKERS=0: one, in this process.
WORKERS ?= 3
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile
# Tests with a target of their own.
APART := faults soak engines kubernetes

.PHONY: reference dashboards k8s consumers released workflows configuration codeowners readme help setup demo test test-rest test-engines test-faults test-k8s soak mechanisms check format lock stubs bench picture third-party coverage wheel clean purge

help: ## Shows this list
	@grep -hE '^[a-z0-9-]+:.*?## ' $(MAKEFILE_LIST) | awk -F':.*?## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: build/.ready ## Installs everything below .venv and build (once; says first what it downloads)

build/.ready: requirements/dev.txt requirements/scenarios.txt requirements/kubernetes.txt pyproject.toml tools/setup.sh
	@PYTHON="$(PYTHON)" bash tools/setup.sh
	@touch $@

build/.stubs: build/.ready $(shell find protos tests/protos -name '*.proto') tools/build_stubs.py
	@$(BIN)/python tools/build_stubs.py && touch $@

stubs: build/.stubs ## Builds the Python stubs of the contracts

demo: build/.stubs ## A story, under 90 s: an emergency, or STORY=rush, STORY=pollution, STORY=burst, STORY=crowd (ENGINES=1: the emergency on real Kafka and Cassandra)
	@$(BIN)/city demo $(or $(STORY),emergency) $(if $(ENGINES),--engines) $(ARGS)

test: build/.stubs ## Unit, contract, real Envoy, one emergency in SUMO, docs
	@$(PYTEST) tests $(APART:%=--ignore=tests/%) --durations=15 $(ARGS)

# Each of their tests keeps the machine busy by itself.
test-engines test-faults: WORKERS := 2

test-engines: build/.stubs ## The store and the log on real Kafka and Cassandra (downloads 109 MB of jars, once)
	@$(PYTEST) tests/engines --durations=10 $(ARGS)

test-faults: build/.stubs ## A few kills per victim, at fixed seeds: meshes, writers, Kafka, Cassandra, a full disk, a cut network
	@$(PYTEST) tests/faults --durations=10 $(ARGS)

test-k8s: build/.stubs ## What `make k8s` makes, on a real API server with kwok's nodes (compiles Kubernetes with Go, once; never in CI)
	@$(BIN)/python -m tools.kubernetes_server
	@$(BIN)/python -m pytest tests/kubernetes --durations=10 $(ARGS)

soak: build/.stubs ## Long loops over many seeds; never in CI
	@$(BIN)/python -m pytest tests/soak -s $(ARGS)

mechanisms: build/.stubs ## Switches off each security mechanism in turn: the tests that hold it must fail (long; ARGS="ID …" for some)
	@$(BIN)/python -m tools.mechanisms_off $(ARGS)

check: build/.stubs ## Lint, broken contracts, strict types, import directions, nothing generated has drifted
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check -q .
	@$(BIN)/python -m tools.compatible
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/vulture
	@$(BIN)/buf lint build/descriptors.binpb --config buf.yaml
	@$(BIN)/python -m tools.check_repository

format: build/.ready ## Puts the code into its form, and mends what the linter can
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format -q .

lock: build/.ready ## Locks the requirements anew, with hashes
	@$(BIN)/pip install -q uv && for f in runtime image dev peers; do $(BIN)/uv pip compile -q --no-strip-extras --universal --generate-hashes --no-emit-index-url \
	  --no-header --python-version 3.11 requirements/$$f.in -o requirements/$$f.txt; done
	@for f in scenarios kubernetes; do $(BIN)/uv pip compile -q --no-deps --universal --generate-hashes --no-emit-index-url --no-header \
	  --python-version 3.11 requirements/$$f.in -o requirements/$$f.txt; done
	@$(MAKE) --no-print-directory third-party

third-party: build/.ready ## Makes THIRD_PARTY.md from the locks
	@$(BIN)/python -m tools.third_party

build/.peers: requirements/peers.txt
	@rm -rf build/peers && $(PYTHON) -m venv build/peers
	@build/peers/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/peers.txt
	@touch $@

bench: build/.stubs build/.peers ## Measures, beside a peer or a floor in the same run (FULL=1: the long rows)
	@$(BIN)/python -m benchmarks $(ARGS)

readme: build/.stubs ## Puts the workflow and the newest results into both READMEs and docs/benchmarks.md
	@$(BIN)/python -m tools.readme
	@$(BIN)/python -m tools.benchmarks

codeowners: build/.ready ## Makes .github/CODEOWNERS from the teams in the manifests
	@$(BIN)/python -m tools.codeowners

consumers: build/.stubs ## Makes protos/consumers.yaml: which fields of events each service reads
	@$(BIN)/python -m tools.consumers

released: build/.stubs ## Keeps the contracts of a release in protos/released.binpb, which `make check` compares with
	@$(BIN)/python -m tools.released

k8s: build/.ready ## Makes base and overlays in k8s/ from the manifests and k8s/environments.yaml
	@$(BIN)/python -m citybrain.k8s.generator

dashboards: build/.stubs ## Makes dashboards in observability/grafana/ and rules in observability/prometheus/rules/, from manifests and classes
	@$(BIN)/python -m tools.dashboards

workflows: build/.stubs ## Pins new workflows and versions in sagas/workflows/published.toml, and makes their pages in docs/workflows/
	@$(BIN)/python -m tools.workflows
	@$(BIN)/python -m tools.workflow_pages

reference: build/.stubs ## Makes docs/reference.md, every public name as the code says, and the picture docs/architecture.svg
	@$(BIN)/python -m tools.reference && $(BIN)/python -m tools.architecture

configuration: build/.stubs ## Puts every value of the configuration into docs/configuration.md
	@$(BIN)/python -m tools.configuration

picture: build/.stubs ## Makes docs/picture.svg from a run
	@# Of the seeds 1 to 12 the one in the middle by what the city adds to a siren alone; where two are, the one with less.
	@$(BIN)/city demo emergency --seed 5 --picture docs/picture.svg --report build/report.html

# Where the branches of store and sagas are measured: by tests that run them in their own process, and are not long.
MEASURED = $(filter-out tests/contract/test_broken_engines.py tests/distributed/test_linearizable.py tests/distributed/test_protocol.py, \
  $(wildcard $(foreach room,contract distributed unit/event_store unit/sagas,tests/$(room)/test_*.py)))

coverage: build/.stubs ## Measures the branches of store and sagas that tests take; fails below the floor
	@$(PYTEST) -q $(MEASURED) --cov $(ARGS)

test-rest: build/.stubs ## What `make test` runs and `make coverage` does not: the two together run each test once
	@$(PYTEST) tests $(APART:%=--ignore=tests/%) $(MEASURED:%=--ignore=%) --durations=15 $(ARGS)

wheel: build/.stubs ## Makes the two wheels in dist/: the mesh, and the client for programs outside of it
	@rm -rf build/wheel && $(BIN)/pip wheel -q --no-deps --no-build-isolation --wheel-dir dist . && $(BIN)/python -m tools.client_wheel && ls -sh dist

CACHES := .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .benchmarks .coverage .coverage.* **/__pycache__
BUILT := build/python build/tests build/third_party build/wheel build/*.binpb build/.stubs dist report.html

clean: ## Removes what is built again without a network, and says how large it was
	@bash tools/remove.sh $(foreach path,$(BUILT) $(CACHES),'$(path)')

purge: ## Removes all that setup and runs left, .venv and data too, and says how large it was
	@bash tools/remove.sh $(foreach path,build .venv data src/*.egg-info $(BUILT) $(CACHES),'$(path)')

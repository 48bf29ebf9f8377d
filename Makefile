# `make` lists the targets. Each makes what it needs, and can be run again.

IS_NEW := import sys; sys.exit(sys.version_info < (3, 11))
# The first one that is new enough; PYTHON=/path/to/python3 names another.
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$name -c '$(IS_NEW)' 2>/dev/null && echo $$name && break; \
	done)
NEEDS_PYTHON = test -n "$(PYTHON)" && $(PYTHON) -c '$(IS_NEW)' 2>/dev/null || { echo 'Python 3.11 or later is missing:' \
	'install it from https://www.python.org/downloads/, or name one: PYTHON=/path/to/python3 make ...' >&2; exit 1; }
VENV := .venv
BIN := $(VENV)/bin

# The kind cluster, and the port of this machine that leads to it: 8443, unless another is named.
CLUSTER ?= flask-app
export CLUSTER HTTPS_PORT KEY PARTS YES OPEN
OF_CLUSTER := $(BIN)/python -m tools.cluster
# Those of the end-to-end tests.
E2E_CLUSTER ?= flask-app-e2e
E2E_PORT ?= 9443
# All tests run on two workers: beside those that share a cluster, those that have their own.
SIDE_BY_SIDE := --numprocesses $(if $(E2E_ARGS),0,2)
E2E := CLUSTER=$(E2E_CLUSTER) HTTPS_PORT=$(E2E_PORT)
# What a rotation waits for is shorter there: the kubelet's pace, and what the values turn.
SHORTER := SYNC_FREQUENCY=1s VALUES=tests/e2e/values.yaml

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "%-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: $(VENV)/run ## Serve on http://127.0.0.1:8080 with a PostgreSQL of its own (PORT=…)
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m tools.local

# GOGC: Helm's engine, which is in Go, would collect its garbage after every rendering.
# PYTHONMALLOC: development mode would guard memory, too, which is for code in C: none is here.
# PYTHONDONTWRITEBYTECODE: where it is set, a hundred processes would each compile app/ anew.
# worksteal: the tests that wait stand side by side, and one worker would be left with all of them.
TEST_ENV := GOGC=800 PYTHONDEVMODE=1 PYTHONMALLOC=default PYTHONDONTWRITEBYTECODE= PYTHONWARNINGS=error

.PHONY: test
test: $(VENV)/dev $(VENV)/browser ## Run all tests that need no cluster (TEST_ARGS=… for pytest)
	$(TEST_ENV) $(BIN)/pytest --numprocesses auto --dist worksteal $(TEST_ARGS)

.PHONY: bench
bench: $(VENV)/dev ## Measure the service, in 12 minutes, and write docs/benchmarks.md
	$(BIN)/python -m tools.bench

.PHONY: bench-rotation
bench-rotation: $(VENV)/dev ## Measure rotations on kind, in 15 minutes, into docs/benchmarks.md
	$(E2E) $(BIN)/python -m tools.bench.rotation

.PHONY: lint
lint: $(VENV)/dev .venv-checkov/checkov ## Check style, types, secrets, workflows, and the chart (that with helm)
	@$(BIN)/pre-commit run --all-files --hook-stage manual
	@$(BIN)/pytest --quiet -m lint tests/template/test_habits.py
	@tests/chart/lint

.PHONY: hooks
hooks: $(VENV)/dev ## Let git look for secrets and faults of style before each commit
	@$(BIN)/pre-commit install

.PHONY: chart-docs
chart-docs: $(VENV)/dev ## Write chart/README.md and chart/values.schema.json from chart/values.yaml
	$(BIN)/python -m chart.docs

COMPILE = $(PYTHON) -m tools.install uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	--generate-hashes --custom-compile-command 'make lock'
OF_DEV := --constraint requirements/dev.txt

.PHONY: lock
lock: ## Pin the newest versions that pyproject.toml allows, with hashes
	@$(NEEDS_PYTHON)
	$(COMPILE) --group pyproject.toml:uv --output-file requirements/uv.txt
	$(COMPILE) pyproject.toml --group dev --output-file requirements/dev.txt
	$(COMPILE) pyproject.toml --group run $(OF_DEV) --output-file requirements/run.txt
	$(COMPILE) pyproject.toml $(OF_DEV) --output-file requirements/service.txt
	$(COMPILE) --group pyproject.toml:checkov --output-file requirements/checkov.txt
	$(COMPILE) --group pyproject.toml:moto --output-file requirements/moto.txt

.PHONY: doctor
doctor: ## See what this machine has and lacks, and where to get it (DOCTOR_ARGS=--json)
	@$(NEEDS_PYTHON)
	@$(PYTHON) -m tools.doctor $(DOCTOR_ARGS)

.PHONY: image
image: ## Build the image flask-app:dev
	docker build --tag flask-app:dev .

.PHONY: cluster
cluster: $(VENV)/run ## Make the kind cluster
	@$(OF_CLUSTER) create

.PHONY: deploy
deploy: $(VENV)/run ## Make the cluster, build the image, install or upgrade the release (HTTPS_PORT=…)
	@$(OF_CLUSTER) deploy

.PHONY: status
status: $(VENV)/run ## Show what is deployed, or what `make run` serves: ages, pods, what is due
	@$(OF_CLUSTER) status

.PHONY: rotate
rotate: $(VENV)/run ## Rotate what is deployed, or what `make run` serves (PARTS=…)
	@$(OF_CLUSTER) rotate

.PHONY: give
give: $(VENV)/run ## Write a secret of somebody else's, KEY=…, from the input; it is not shown
	@$(OF_CLUSTER) give

.PHONY: leak-scan
leak-scan: $(VENV)/run ## Look for the secrets of what is deployed (SCAN_ARGS='--rotate --json FILE')
	@$(BIN)/python -m tools.leakscan $(SCAN_ARGS)

.PHONY: audit
audit: $(VENV)/run ## Show who read or wrote its Secrets (AUDIT_ARGS='--follow --since 1h --help')
	@$(OF_CLUSTER) audit $(AUDIT_ARGS)

.PHONY: e2e
e2e: $(VENV)/dev $(VENV)/browser .venv-moto/moto ## Deploy to a cluster of its own and prove it (KEEP=1, E2E_ARGS=… for pytest)
	$(E2E) $(SHORTER) $(BIN)/pytest --verbose $(SIDE_BY_SIDE) \
		--override-ini console_output_style=times tests/e2e $(E2E_ARGS)

.PHONY: demo
demo: $(VENV)/run ## Show it all in ten minutes: rotate under load, scan, plant a leak (YES=1 OPEN=0)
	@$(BIN)/python -m tools.demo

.PHONY: rename
rename: $(VENV)/dev ## Give the project another name, without what is about the template (NAME=orders)
	@$(BIN)/python -m tools.rename

.PHONY: reset
reset: $(VENV)/run ## Begin anew in the cluster: everything as first deployed, with new secrets and an empty database
	@$(OF_CLUSTER) reset

.PHONY: destroy
destroy: $(VENV)/run ## Remove the kind cluster with everything in it
	@$(OF_CLUSTER) destroy

# once, whatever comes of it: it says what to do where none can be had
$(VENV)/browser: $(VENV)/dev
	@$(BIN)/python -m tests.browser
	@touch $@

# Each mark has its lock file's name, and is new once its environment holds what that names.
$(VENV)/run: requirements/run.txt
$(VENV)/dev: requirements/dev.txt
.venv-moto/moto: requirements/moto.txt
.venv-checkov/checkov: requirements/checkov.txt
$(VENV)/run $(VENV)/dev .venv-moto/moto .venv-checkov/checkov:
	@$(NEEDS_PYTHON)
	@$(PYTHON) -m tools.install $@

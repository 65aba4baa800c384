# `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# $(call phase,name,command) prints the name of a phase, and when it ends, its time.
define phase
	@printf '\n=== %s\n' '$(1)'; start=$$SECONDS; status=0; ( $(2) ) || status=$$?; \
	printf '=== %s: %s in %d s\n' '$(1)' "$$([ $$status = 0 ] && echo done || echo FAILED)" $$((SECONDS - start)); \
	exit $$status
endef

.PHONY: help setup test format lint build helm unit cluster integration e2e mutants demo bench crds chart image sbom krew lock clean

help:  ## list the targets
	@sed -nE 's/^([a-z0-9]+):[^#]*## (.*)/make \1\t\2/p' Makefile | expand -t 18

setup: $(STAMP)  ## create .venv with the locked requirements

$(STAMP): requirements.lock tests/requirements.lock pyproject.toml
	$(call phase,set-up,\
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: set PYTHON=")' && \
	$(PYTHON) -m venv --clear $(VENV) && \
	$(BIN)/python -m pip install --quiet --require-hashes -r tests/requirements.lock && \
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable . && touch $(STAMP))

test: lint build unit integration e2e  ## do all set-up and run every check and test

format: setup  ## format the code and fix what ruff can fix
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lint: setup  ## ruff, mypy and import contracts
	$(call phase,lint,$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports)

# Unit tests compute, so they have one worker for each processor.
unit: setup  ## unit and property tests, without a cluster: the inner loop
	$(call phase,unit and property tests,$(BIN)/python -m pytest -q -n auto --dist worksteal \
	  -m "not integration and not e2e")

# Worker processes of the end-to-end tests: these mostly wait, and each worker has clusters of its own.
E2E_WORKERS ?= 3

# What a fresh machine builds once: everything for the tests, and what the demo needs.
build: setup  ## build the test cluster, helm and the operator's image, once per machine
	$(call phase,test cluster and helm and image of the operator,$(BIN)/python -m tests.cluster build --helm --image)

cluster: setup  ## build only the test cluster
	$(call phase,test cluster,$(BIN)/python -m tests.cluster build)

helm: setup  ## build the test cluster and helm
	$(call phase,test cluster and helm,$(BIN)/python -m tests.cluster build --helm)

# Integration tests mostly wait, so there are more workers than processors. Each of them has a control plane and an
# operator of its own, which need a gigabyte of memory. -v shows each test when it ends.
WORKERS ?= 4
integration: setup helm  ## tests against a real etcd and kube-apiserver; WORKERS=4
	$(call phase,integration tests,$(BIN)/python -m pytest -v -n $(WORKERS) --dist loadfile --no-loadscope-reorder \
	  -m integration)

e2e: setup build  ## real job pods on a real kubelet; E2E_WORKERS=3
	$(call phase,end-to-end tests,$(BIN)/python -m pytest -q -m e2e -p tests.e2e.groups \
	  -n $(E2E_WORKERS) --dist loadscope --no-loadscope-reorder)

mutants: setup helm  ## remove each defense in a copy, and see the test of its attack fail; ATTACKS="A1 A24"
	@$(BIN)/python -m tests.attacks $(ATTACKS)

demo: setup cluster  ## do all set-up and show real job pods with their secrets; KEEP=1 leaves them running
	@$(BIN)/python -m tests.demo $(if $(KEEP),--keep)

bench: setup cluster  ## measure the operator beside floors in one run; BENCH="--quick --only admission"
	@$(BIN)/python -m tests.bench $(BENCH)

crds: setup  ## generate crds/ from the models
	@$(BIN)/scoped-secrets crds --write crds
	@$(BIN)/scoped-secrets crds --write helm/scoped-secrets/files/crds

chart: setup helm  ## generate manifests/ and the chart's table of values
	@$(BIN)/python -m tests.chart.generate

VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE = scoped-secrets:$(VERSION)
BASE = python:3.13-slim
# One date for everything in the image makes the same layers of the same sources and base.
image: export SOURCE_DATE_EPOCH = $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
image:  ## build the operator's image with docker, podman or buildah; IMAGE= names it, BASE= its base
	@case '$(IMAGE)=$(BASE)' in */*=localhost/* | */*@sha256:*) ;; \
	*/*) echo 'BASE= needs a digest when IMAGE= names a registry, so that the image is made of a known base:' \
	  'BASE=$(BASE)@sha256:..., as `docker buildx imagetools inspect $(BASE)` prints it' >&2; exit 1 ;; \
	esac
	@for tool in docker podman buildah; do command -v $$tool >/dev/null && break; tool=; done; \
	given="--file operator/Dockerfile --tag $(IMAGE) --build-arg BASE=$(BASE) --build-arg VERSION=$(VERSION) \
	  --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null) --build-arg SOURCE_DATE_EPOCH=$$SOURCE_DATE_EPOCH"; \
	case $$tool in \
	docker) docker build $$given . ;; \
	podman | buildah) $$tool build $$given --timestamp $$SOURCE_DATE_EPOCH \
	  --ignorefile operator/Dockerfile.dockerignore . ;; \
	*) echo 'docker, podman or buildah is needed: install one of them' >&2; exit 1 ;; \
	esac

SBOM = build/scoped-secrets.cdx.json
# The environment that it looks at holds what the image's does: the locked requirements and the operator.
sbom: setup  ## write the image's bill of materials (CycloneDX) into SBOM=
	$(call phase,software bill of materials,\
	rm -rf build/sbom && mkdir -p $(dir $(SBOM)) && $(PYTHON) -m venv --without-pip build/sbom && \
	$(BIN)/python -m pip --python build/sbom/bin/python install --quiet --no-compile --require-hashes -r requirements.lock && \
	$(BIN)/python -m pip --python build/sbom/bin/python install --quiet --no-compile --no-deps . && \
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file $(SBOM) \
	  build/sbom/bin/python && rm -rf build/sbom && echo $(SBOM))

KREW = build/krew
HOMEPAGE =
URI =
krew: setup  ## build the archive of the kubectl plugin and its manifest for krew; HOMEPAGE= and URI= of the release
	@[ -n '$(HOMEPAGE)' ] && [ -n '$(URI)' ] || { \
	  echo 'HOMEPAGE= must be the page of the project, and URI= the address of the archive of the release' >&2; exit 1; }
	$(call phase,archive and manifest for krew,\
	rm -rf $(KREW) && mkdir -p $(KREW)/archive && \
	$(BIN)/python -m build --wheel --no-isolation --outdir $(KREW)/archive . >/dev/null 2>&1 && \
	cp operator/krew/kubectl-scoped_secrets requirements.lock LICENSE $(KREW)/archive && \
	tar -C $(KREW)/archive -czf $(KREW)/kubectl-scoped_secrets.tar.gz . && rm -rf $(KREW)/archive && \
	sum=$$(sha256sum $(KREW)/kubectl-scoped_secrets.tar.gz | cut -d ' ' -f 1) && \
	sed -e '1d' -e 's|[$$]{VERSION}|$(VERSION)|' -e 's|[$$]{HOMEPAGE}|$(HOMEPAGE)|' -e 's|[$$]{URI}|$(URI)|' \
	  -e "s|[$$]{SHA256}|$$sum|" operator/krew/scoped-secrets.yaml > $(KREW)/scoped-secrets.yaml && echo $(KREW))

lock:  ## renew the locked requirements
	$(BIN)/pip-compile --quiet --upgrade --generate-hashes --no-emit-find-links --no-emit-index-url \
	  --no-emit-trusted-host --strip-extras --no-header -o requirements.lock pyproject.toml
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["dev"], sep="\n")' | \
	$(BIN)/pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --no-emit-find-links --no-emit-index-url \
	  --no-emit-trusted-host --strip-extras --no-header -c requirements.lock -o tests/requirements.lock - pyproject.toml
	$(BIN)/pip-compile --quiet --upgrade --generate-hashes --no-emit-find-links --no-emit-index-url \
	  --no-emit-trusted-host --strip-extras --no-header --only-build-deps --build-deps-for wheel \
	  -c tests/requirements.lock -o operator/build.lock pyproject.toml

clean:  ## remove what make created in this folder
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

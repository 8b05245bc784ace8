SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
UV_VERSION := 0.13.9
ATHERIS_VERSION := 3.0.0
BIN := .venv/bin
# Everything in .venv comes from requirements.lock: exact versions, checked by SHA-256.
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.lock --build-constraint requirements.lock

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/bin/uv:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "rescorer needs Python 3.11 or newer; name one with PYTHON=python3.12" >&2; exit 1; }
	@echo "• virtual environment in .venv"
	@$(PYTHON) -m venv .venv >/dev/null || { rm -rf .venv; \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then echo "• installing python3-venv with apt-get"; \
	    apt-get update -q >/dev/null && apt-get install -qy python3-venv >/dev/null && $(PYTHON) -m venv .venv; \
	  else echo "python3-venv is missing; run: sudo apt-get install python3-venv" >&2; exit 1; fi; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/.demo: .venv/bin/uv requirements.lock pyproject.toml
	@echo "• packages of the demo (client, sidecar on onnxruntime, lab)"; begun=$$SECONDS; \
	$(INSTALL) --editable '.[opensearch,onnx,lab]'; touch $@; echo "  done in $$((SECONDS - begun)) s"

.venv/.all: .venv/bin/uv requirements.lock pyproject.toml
	@echo "• all packages, torch included (about 5 GB the first time)"; begun=$$SECONDS; \
	$(INSTALL) --editable '.[opensearch,elasticsearch,onnx,sidecar,otel,redis,lab,ir-datasets]' --group dev; touch $@ .venv/.demo; echo "  done in $$((SECONDS - begun)) s"

.PHONY: demo
demo: .venv/.demo ## the first rescored search: real node, real model, real judgments (DEMO=--help for its options)
	@$(BIN)/rescorer demo $(DEMO)

.PHONY: setup
setup: .venv/.all ## the whole development environment in .venv

.PHONY: lint
lint: .venv/.all ## ruff, formatting, mypy --strict, import contract
	@$(BIN)/ruff check --quiet && $(BIN)/ruff format --check --quiet && $(BIN)/mypy && $(BIN)/lint-imports --no-cache

.PHONY: format
format: .venv/.all ## mend what ruff can mend
	@$(BIN)/ruff check --fix --quiet; $(BIN)/ruff format --quiet

.PHONY: test
test: lint ## everything: lint, unit, contract, shape, and the real engine, sidecar and model
	@$(BIN)/pytest

.PHONY: test-fast
test-fast: lint ## no engine, no model, no network: under a minute
	@$(BIN)/pytest -q tests/unit tests/contract tests/shape tests/typing -m "not slow"

# The second line of each engine, and the client that fits it: the 9.x client speaks to no 8.x server.
SECOND_LINE := RESCORER_TEST_OPENSEARCH=2.19.6 RESCORER_TEST_ELASTICSEARCH=8.19.13 PYTHONPATH=.venv-es8
CLIENT_8 := elasticsearch==8.19.3 elastic-transport==8.19.0

.venv-es8/.done: .venv/.all Makefile
	@echo "• Elasticsearch's 8.x client, to be put before the one in .venv"; rm -rf .venv-es8; \
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --target .venv-es8 $(CLIENT_8); touch $@

.PHONY: test-engines
test-engines: .venv/.all .venv-es8/.done ## the tests on real engines: OpenSearch 3.6 and Elasticsearch 9.4, then 2.19 and 8.19
	@$(BIN)/pytest -m engine tests/engines tests/end_to_end
	@$(SECOND_LINE) $(BIN)/pytest -m engine tests/engines tests/end_to_end

.venv-fuzz/.done: .venv/bin/uv requirements.lock pyproject.toml
	@echo "• packages for fuzzing in .venv-fuzz"; $(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-fuzz; \
	$(BIN)/uv pip install --quiet --python .venv-fuzz/bin/python --constraint requirements.lock --build-constraint requirements.lock \
	  --editable '.[onnx,lab]' 'atheris==$(ATHERIS_VERSION)'; touch $@

.PHONY: fuzz
fuzz: .venv-fuzz/.done ## arbitrary JSON and bytes into every door and reader for FUZZ_SECONDS (default 60), grown by coverage
	@PYTHONPATH=tests .venv-fuzz/bin/python tests/fuzz/run_atheris.py

.PHONY: chaos
chaos: .venv/.all ## a real stack through the faults of docs/chaos.md, and one table (CHAOS=--help for its options)
	@PYTHONPATH=tests $(BIN)/python -m chaos $(CHAOS)

# Frameworks pin what they like, so they live in an environment of their own, outside requirements.lock. One that does
# not install costs its own test only: pytest tells why it is skipped.
IN_ECOSYSTEM := $(BIN)/uv pip install --quiet --python .venv-ecosystem/bin/python
FRAMEWORKS := import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["ecosystem"])

.venv-ecosystem/.done: .venv/bin/uv pyproject.toml
	@echo "• LangChain, LlamaIndex and Haystack with their stores, in .venv-ecosystem"; rm -rf .venv-ecosystem; \
	$(PYTHON) -m venv --without-pip .venv-ecosystem; $(IN_ECOSYSTEM) --editable '.[opensearch,elasticsearch]' pytest pytest-asyncio; \
	$(IN_ECOSYSTEM) --group ecosystem || for one in $$($(BIN)/python -c '$(FRAMEWORKS)'); do \
	  $(IN_ECOSYSTEM) "$$one" || echo "• $$one does not install here; its test is skipped"; done; touch $@

.PHONY: test-ecosystem
test-ecosystem: .venv-ecosystem/.done ## our clients in the official helpers and DSL, LangChain, LlamaIndex and Haystack
	@.venv-ecosystem/bin/python -m pytest tests/ecosystem

.venv-peers/.done: .venv/bin/uv pyproject.toml
	@echo "• other rerankers to compare with, in .venv-peers and .venv-peers-infinity (about 6 GB)"; rm -rf .venv-peers .venv-peers-infinity; \
	for group in peers peers-infinity; do $(PYTHON) -m venv --without-pip .venv-$$group; \
	  $(BIN)/uv pip install --quiet --python .venv-$$group/bin/python --group $$group || echo "• $$group does not install here"; done; touch $@

.PHONY: bench-setup
bench-setup: .venv-peers/.done ## the environments of the peers that benchmarks/sidecar.py compares with

.PHONY: bench
bench: .venv/.all .venv-peers/.done ## our sidecar beside its peers, about ten minutes (BENCH=--help for its options)
	@PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python benchmarks/sidecar.py $(BENCH)

.venv-plot/.done: .venv/bin/uv pyproject.toml
	@echo "• matplotlib in .venv-plot"; rm -rf .venv-plot; $(PYTHON) -m venv --without-pip .venv-plot; \
	$(BIN)/uv pip install --quiet --python .venv-plot/bin/python --group plots; touch $@

.PHONY: overload
overload: .venv/.all .venv-plot/.done ## ask for 1.5 times what the sidecar can do, and of a peer; ten minutes (OVERLOAD=--help for options)
	@PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python benchmarks/overload.py --plot docs/overload.png $(OVERLOAD)

.PHONY: soak
soak: .venv/.all .venv-plot/.done ## SOAK_MINUTES (default 30) of mixed load: memory, descriptors, threads, p99 (SOAK=--help for options)
	@SOAK_MINUTES=$(SOAK_MINUTES) $(BIN)/python benchmarks/soak.py --plot docs/soak.png $(SOAK)

.PHONY: results
results: .venv/.all .venv-plot/.done ## what rescoring does on real collections, an hour and a half: docs/results.md (RESULTS=--help)
	@$(BIN)/python benchmarks/results.py $(RESULTS) && .venv-plot/bin/python benchmarks/results_plot.py

.PHONY: lock
lock: .venv/bin/uv ## renew requirements.lock with the newest versions that work together
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes --no-header --no-annotate --no-emit-index-url \
	  --all-extras --group dev pyproject.toml --output-file requirements.lock && echo "requirements.lock renewed"

# Both tools live in environments of their own. AUDIT_SERVICE is osv or pypi; AUDIT is for options of pip-audit, such as
# --osv-url of a mirror.
AUDIT_SERVICE ?= osv
PIP_AUDIT := $(BIN)/uv run --quiet --isolated --no-project --with pip-audit==2.10.1 pip-audit
CYCLONEDX := $(BIN)/uv run --quiet --isolated --no-project --with cyclonedx-bom==7.5.0 cyclonedx-py

.PHONY: audit
audit: .venv/bin/uv ## look up known vulnerabilities of all versions in requirements.lock
	@$(BIN)/python deploy/audit.py $(PIP_AUDIT) --vulnerability-service $(AUDIT_SERVICE) $(AUDIT)

.PHONY: sbom
sbom: .venv/bin/uv ## write sbom.json: every package of requirements.lock with its hashes, in CycloneDX
	@$(CYCLONEDX) requirements requirements.lock --pyproject pyproject.toml --output-reproducible --of JSON -o sbom.json 2>/dev/null \
	  && $(BIN)/python -c 'import json; print("sbom.json:", len(json.load(open("sbom.json"))["components"]), "packages")'

# protobuf 5.29 generates them, so that every runtime from 5.29 on accepts them; its tools live in an environment of their own.
# google/rpc/status.proto lies in the environment's googleapis-common-protos.
STUB_TOOLS := $(BIN)/uv run --quiet --isolated --no-project --with grpcio-tools==1.71.2 --with googleapis-common-protos==1.70.0 --with 'setuptools<81' \
  python -c 'import runpy, sys, google.rpc as rpc; sys.argv.insert(1, "-I" + rpc.__path__[0] + "/../.."); runpy.run_module("grpc_tools.protoc", run_name="__main__")'

PROTOS := v1/rescorer admin/v1/admin

.PHONY: stubs
stubs: .venv/bin/uv ## regenerate the Python stubs from the proto files (OUT=folder to write elsewhere)
	@out=$${OUT:-proto/rescorer_proto}; work=$$(mktemp -d); \
	$(STUB_TOOLS) -Iproto --python_out=$$work --pyi_out=$$work --grpc_python_out=$$work $(PROTOS:%=rescorer/%.proto); \
	for room in $(sort $(dir $(PROTOS))); do mkdir -p $$out/$$room; \
	  sed -i -E 's/^from rescorer\.(v1|admin\.v1) import/from rescorer_proto.\1 import/' $$work/rescorer/$$room*.py; \
	  cp $$work/rescorer/$$room*.py $$work/rescorer/$$room*.pyi $$out/$$room; done; rm -r $$work

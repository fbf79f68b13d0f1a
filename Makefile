# Two commands do all the set-up: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
# A further package index for torch, e.g. for its CPU builds; the README says more.
TORCH_INDEX ?=
# Python compiles what it imports; compiling all of torch's files takes longer than the rest of the installation.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c requirements.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
# Tests run in so many processes, each on a core of its own.
WORKERS ?= 2
GENERATED := twotower/pb/common_pb2.py
# Installed without bytecode (see PIP): a library is compiled when it is first imported, and never again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo stop status test lint format protos compose-test bench-items bench-search bench-encoder bench-index bench-serving bench-training bench-growth bench-ready soak docs clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1	/' | expand -t 20

demo: .venv/run.stamp $(GENERATED) ## install, make demo data, train, start everything, show real answers
	@$(BIN)/python -m demo up

stop: ## stop what `make demo` started
	@test -x $(BIN)/python && $(BIN)/python -m demo stop || echo "the demo is not running"

status: ## the demo's processes
	@$(BIN)/python -m demo status

test: .venv/dev.stamp $(GENERATED) ## everything the tests need, then all tests
	$(BIN)/python -m pytest -m "not compose" -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

compose-test: .venv/dev.stamp $(GENERATED) ## the tests that build images and run containers (needs a Docker engine)
	$(BIN)/python -m pytest -m compose $(ARGS)

bench-items: .venv/dev.stamp $(GENERATED) ## item encoding beside sentence-transformers
	$(BIN)/python benchmarks/items.py $(ARGS)

bench-search: .venv/run.stamp $(GENERATED) ## what a search for words finds, in the demo (ARGS="--artifacts FOLDER")
	$(BIN)/python -m benchmarks.search $(ARGS)

bench-encoder: .venv/dev.stamp $(GENERATED) ## the catalogue encoder on noisy Arabic, beside TF-IDF (data in ../shared/data)
	$(BIN)/python -m benchmarks.encoder $(ARGS)

lint: .venv/dev.stamp $(GENERATED) ## format check, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench-index: .venv/bench.stamp $(GENERATED) ## the chosen index beside a flat one, hnswlib and usearch (ARGS="--products 1000000")
	$(BIN)/python -m benchmarks.index --svg docs/index.svg $(ARGS)

bench-serving: .venv/bench.stamp $(GENERATED) ## the services beside two monoliths: speed, latency, CPU (ARGS="--products 100000 --index HNSW32")
	$(BIN)/python -m benchmarks.serving --svg docs/serving.svg $(ARGS)

bench-training: .venv/dev.stamp .venvs/rectools/stamp $(GENERATED) ## training beside RecTools' SASRec (ARGS="--data FOLDER --minutes 60")
	$(BIN)/python -m benchmarks.training $(ARGS)

bench-growth: .venv/bench.stamp $(GENERATED) ## time and memory from 0.1 to 3 million events, and of 100,000 products
	$(BIN)/python -m benchmarks.growth --svg docs/growth.svg $(ARGS)

bench-ready: .venv/run.stamp $(GENERATED) ## from the start of a service to its being ready (ARGS="--index HNSW32")
	$(BIN)/python -m benchmarks.ready $(ARGS)

soak: .venv/bench.stamp $(GENERATED) ## 100,000 requests: no error, flat memory (ARGS="--requests 1000000")
	$(BIN)/python -m benchmarks.soak $(ARGS)

format: .venv/dev.stamp ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venvs/docs/stamp ## the documentation as a web site, in site/
	NO_MKDOCS_2_WARNING=1 .venvs/docs/bin/mkdocs build --strict --clean

protos: $(GENERATED) ## the gRPC code, from protos/

$(GENERATED): protos/generate.sh $(wildcard protos/*.proto) | .venv/run.stamp
	PYTHON=$(BIN)/python protos/generate.sh

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/run.stamp: pyproject.toml requirements.txt | .venv/bin/python
	@echo "installing (a few minutes the first time)"
	$(PIP) -e ".[item,buyer,retrieval,gateway,trainer,local]" grpcio-tools
	@touch $@

.venv/dev.stamp: .venv/run.stamp
	$(PIP) -e ".[item,buyer,retrieval,gateway,trainer,local,dev]"
	@touch $@

.venv/bench.stamp: .venv/run.stamp
	$(PIP) -e ".[item,buyer,retrieval,gateway,trainer,local,bench]"
	@touch $@

# RecTools needs an older numpy than we do
.venvs/rectools/stamp: benchmarks/rectools.txt
	$(PYTHON) -m venv .venvs/rectools
	.venvs/rectools/bin/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r $<
	@touch $@

# The site needs neither torch nor the product.
.venvs/docs/stamp: requirements.txt
	$(PYTHON) -m venv .venvs/docs
	.venvs/docs/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -c requirements.txt mkdocs-material
	@touch $@

clean: stop ## remove the environment and everything the demo made
	rm -rf .venv .venvs .demo site

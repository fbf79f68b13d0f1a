# `make demo` and `make test` install everything that they need. `make help` lists all commands.
PYTHON ?= python3
BIN := .venv/bin
# An additional package index for torch, for example one with its CPU builds.
TORCH_INDEX ?=
# --no-compile: to compile all files of torch takes longer than the rest of the installation.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c requirements.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
# Number of processes that run the tests, each on a core of its own.
WORKERS ?= 2
# The keys file of `make key`; TWOTOWER_GATEWAY_KEYS_FILE names it to the gateway.
KEYS ?= keys.json
GENERATED := twotower/pb/common_pb2.py
# Installed without bytecode (see PIP): a library is compiled when it is first imported, and never again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo stop key status test lint format protos compose-test bench-items bench-search bench-encoder bench-index bench-shards bench-live bench-serving bench-tracing bench-rules bench-admission bench-training bench-warm simulate bench-quality bench-growth bench-ray bench-ray-reading bench-memory bench-ready bench-sessions bench-repeats bench-again bench-together bench-online screens vendor soak chaos fuzz docs lock sbom clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1	/' | expand -t 27

demo: .venv/run.stamp $(GENERATED) ## install, generate demo data, train, start everything, show real answers
	@$(BIN)/python -m demo up

stop: ## stop what `make demo` started
	@test -x $(BIN)/python && $(BIN)/python -m demo stop || echo "the demo is not running"

key: .venv/run.stamp $(GENERATED) ## make a key for the gateway and print it (ARGS="--scopes public --limit 600/minute", KEYS=keys.json)
	@$(BIN)/python -m gateway keys add --file $(KEYS) $(ARGS)

status: ## show the processes of the demo
	@$(BIN)/python -m demo status

test: .venv/dev.stamp $(GENERATED) ## install what the tests need, then run all tests
	$(BIN)/python -m pytest -m "not compose and not chaos and not fuzz" -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

compose-test: .venv/dev.stamp $(GENERATED) ## run the tests that build images and run containers (needs a Docker engine)
	$(BIN)/python -m pytest -m compose $(ARGS)

bench-items: .venv/dev.stamp $(GENERATED) ## compare item encoding with sentence-transformers
	$(BIN)/python benchmarks/items.py $(ARGS)

bench-search: .venv/run.stamp $(GENERATED) ## measure the search for words on the demo's version, and judge the running demo (ARGS="--artifacts FOLDER")
	$(BIN)/python -m benchmarks.search $(ARGS)

bench-encoder: .venv/dev.stamp $(GENERATED) ## compare the catalogue encoder with TF-IDF on noisy Arabic (data in ../shared/data)
	$(BIN)/python -m benchmarks.encoder $(ARGS)

lint: .venv/dev.stamp $(GENERATED) ## check format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench-live: .venv/run.stamp $(GENERATED) ## measure changes of products: time until they show, cost of 10,000 (ARGS="--artifacts .demo/artifacts")
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.live_catalogue $(ARGS)

bench-shards: .venv/bench.stamp $(GENERATED) ## compare shards of one catalogue with the whole: memory, latency, answers (ARGS="--products 100000")
	$(BIN)/python -m benchmarks.shards $(ARGS)

bench-index: .venv/bench.stamp $(GENERATED) ## compare the vector index with a flat one, hnswlib and usearch (ARGS="--products 1000000")
	$(BIN)/python -m benchmarks.index --svg docs/index.svg $(ARGS)

bench-serving: .venv/bench.stamp $(GENERATED) ## compare the services with two monoliths: throughput, latency, CPU (ARGS="--products 100000 --index HNSW32")
	$(BIN)/python -m benchmarks.serving --svg docs/serving.svg $(ARGS)

bench-tracing: .venv/bench.stamp $(GENERATED) ## measure what traces cost (ARGS="--sampling 1")
	$(BIN)/python -m benchmarks.tracing $(ARGS)

bench-rules: .venv/bench.stamp $(GENERATED) ## compare lists under fifty rules with lists without (ARGS="--k 10 --rounds 5")
	$(BIN)/python -m benchmarks.rules $(ARGS)

bench-admission: .venv/bench.stamp $(GENERATED) ## measure ordinary requests beside expensive ones (ARGS="--expensive-rate 20")
	$(BIN)/python -m benchmarks.admission $(ARGS)

bench-training: .venv/dev.stamp .venvs/rectools/stamp $(GENERATED) ## compare training with RecTools' SASRec (ARGS="--data FOLDER --minutes 60")
	$(BIN)/python -m benchmarks.training $(ARGS)

bench-quality: .venv/dev.stamp .venvs/rectools/stamp $(GENERATED) ## compare recommendations with RecTools' eSASRec (ARGS="--data FOLDER --minutes 60 --seeds 7 8 9")
	$(BIN)/python -m benchmarks.quality $(ARGS)

bench-growth: .venv/bench.stamp $(GENERATED) ## measure time and memory of training from 0.1 to 3 million events, and with 100,000 products
	$(BIN)/python -m benchmarks.growth --svg docs/growth.svg $(ARGS)

bench-ray: .venv/dev.stamp $(GENERATED) ## compare training on two Ray workers with torch on two threads; prints one line of JSON (ARGS="--rounds 9")
	$(BIN)/python -m benchmarks.ray $(ARGS)

bench-ray-reading: .venv/dev.stamp $(GENERATED) ## compare reading events on Ray workers with this machine: time, memory (ARGS="--events 3000000")
	$(BIN)/python -m benchmarks.ray_reading $(ARGS)

bench-memory: .venv/dev.stamp $(GENERATED) ## measure the peak memory of every stage of a training (ARGS="--events 3000000 --buyers 100000 --products 50000")
	$(BIN)/python -m benchmarks.memory $(ARGS)

bench-sessions: .venv/dev.stamp $(GENERATED) ## compare sessions without a login with V-SKNN and STAN (data in ../shared/data)
	$(BIN)/python -m benchmarks.sessions $(ARGS)

bench-repeats: .venv/dev.stamp $(GENERATED) ## compare repeat purchases with "most bought before" (a synthetic grocery; data in ../shared/data)
	$(BIN)/python -m benchmarks.repeats $(ARGS)

bench-again: .venv/dev.stamp $(GENERATED) ## compare /again with "most bought before" (a synthetic grocery; data in ../shared/data)
	$(BIN)/python -m benchmarks.again $(ARGS)

bench-together: .venv/dev.stamp $(GENERATED) ## compare what completes a basket with item-kNN and popularity (data in ../shared/data)
	$(BIN)/python -m benchmarks.together $(ARGS)

bench-warm: .venv/dev.stamp $(GENERATED) ## compare warm trainings with trainings from scratch, day by day (ARGS="--folder FOLDER")
	$(BIN)/python -m benchmarks.warm $(ARGS)

simulate: .venv/run.stamp $(GENERATED) ## let simulated buyers use a shop for thirty days, through the real processes (ARGS="--seed 8 --explore 0.1")
	$(BIN)/python -m benchmarks.simulate --plot docs/simulate.svg $(ARGS)

bench-online: .venv/run.stamp $(GENERATED) ## measure false alarms and power of the verdicts on simulated experiments (ARGS="--runs 1000")
	$(BIN)/python -m benchmarks.online $(ARGS)

bench-ready: .venv/run.stamp $(GENERATED) ## measure how long a service takes to become ready (ARGS="--index HNSW32")
	$(BIN)/python -m benchmarks.ready $(ARGS)

screens: .venv/dev.stamp $(GENERATED) ## photograph every page of the running demo's explorer, into .demo/screens (needs chromium)
	$(BIN)/python -m demo.screens $(ARGS)

vendor: ## fetch the explorer's scripts again, as explorer/web/package-lock.json pins them (needs npm)
	sh explorer/web/vendor.sh

soak: .venv/bench.stamp $(GENERATED) ## send 100,000 requests and check for errors and growing memory (ARGS="--requests 1000000")
	$(BIN)/python -m benchmarks.soak $(ARGS)

chaos: .venv/chaos.stamp $(GENERATED) ## break one thing after the other under load, twenty minutes (ARGS="-k Redis --chaos-rate 50")
	$(BIN)/python -m pytest -m chaos tests/chaos $(ARGS)

fuzz: .venv/chaos.stamp $(GENERATED) ## send 20,000 hostile requests (ARGS="--fuzz-seed 2 --fuzz-requests 100000")
	$(BIN)/python -m pytest -m fuzz tests/fuzz $(ARGS)

format: .venv/dev.stamp ## format the code and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venvs/docs/stamp ## build the documentation as a web site, in site/
	NO_MKDOCS_2_WARNING=1 .venvs/docs/bin/mkdocs build --strict --clean

protos: $(GENERATED) ## generate the gRPC code from protos/

$(GENERATED): protos/generate.sh $(wildcard protos/*.proto) | .venv/run.stamp
	PYTHON=$(BIN)/python protos/generate.sh

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/run.stamp: pyproject.toml requirements.txt | .venv/bin/python
	@echo "installing (a few minutes the first time)"
	$(PIP) -e ".[item,buyer,retrieval,gateway,recorder,explorer,trainer,local]" grpcio-tools
	@touch $@

.venv/dev.stamp: .venv/run.stamp
	$(PIP) -e ".[item,buyer,retrieval,gateway,recorder,explorer,trainer,tracing,local,dev]"
	@touch $@

.venv/chaos.stamp: .venv/dev.stamp
	$(PIP) -e ".[item,buyer,retrieval,gateway,recorder,explorer,trainer,tracing,local,dev,chaos]"
	@touch $@

.venv/bench.stamp: .venv/run.stamp
	$(PIP) -e ".[item,buyer,retrieval,gateway,recorder,explorer,trainer,tracing,local,bench]"
	@touch $@

# RecTools needs an older numpy than this product.
.venvs/rectools/stamp: benchmarks/rectools.txt
	$(PYTHON) -m venv .venvs/rectools
	.venvs/rectools/bin/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r $<
	@touch $@

# The site needs neither torch nor the product.
.venvs/docs/stamp: requirements.txt
	$(PYTHON) -m venv .venvs/docs
	.venvs/docs/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -c requirements.txt mkdocs-material
	@touch $@

lock: .venvs/lock/stamp ## write requirements/ again, after a change of pyproject.toml or requirements.txt
	.venvs/lock/bin/python docker/lock.py

sbom: ## copy the list of what each image holds (CycloneDX) into sbom/ (needs a Docker engine and built images)
	@mkdir -p sbom
	@for name in item buyer retrieval gateway recorder explorer trainer; do \
	  docker compose run --rm -T --no-deps --entrypoint cat $$name /opt/venv/sbom.cdx.json > sbom/$$name.cdx.json || exit 1; \
	  echo sbom/$$name.cdx.json; done

.venvs/lock/stamp: requirements.txt
	$(PYTHON) -m venv .venvs/lock
	.venvs/lock/bin/python -m pip install --quiet --disable-pip-version-check -c requirements.txt uv
	@touch $@

clean: stop ## remove the environments, the demo's files and the built documentation
	rm -rf .venv .venvs .demo site sbom

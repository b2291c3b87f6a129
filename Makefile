PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
BENCH_STAMP := $(VENV)/.installed-bench

# What is installed is compiled by whoever imports it first, unless told not to keep it: every command would compile it again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup demo test test-slow check format proto bench clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | awk -F'|' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv and install what gnnrl needs, pinned

# Not compiled beforehand: most of torch is never imported.
# torch goes first and alone: with its version pinned, a CPU wheel satisfies it; an open range would pull gigabytes of CUDA packages.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "gnnrl needs Python 3.11 or newer, $(PYTHON) is %d.%d; run: make PYTHON=python3.11 $(MAKECMDGOALS)" % sys.version_info[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'Installing the pinned set into $(VENV): about a minute, once'
	$(BIN)/pip install -qq --no-compile -c constraints.txt torch==2.13.0
	$(BIN)/pip install -qq --no-compile -c constraints.txt -e .
	@touch $@

# The demo does without: half of what is installed is for tests and checks.
$(DEV_STAMP): $(STAMP)
	$(BIN)/pip install -qq -c constraints.txt -e '.[dev]'
	@touch $@

$(BENCH_STAMP): $(DEV_STAMP)
	$(BIN)/pip install -qq -c constraints.txt -e '.[bench]'
	@touch $@

demo: $(STAMP) ## the pretrained policy against the rules on the Online Boutique, then a short fine-tuning; runs/demo/report.html
	@rm -rf runs/demo && mkdir -p runs/demo
	$(BIN)/gnnrl evaluate --policy generalist --mesh online_boutique --slo-factor 2 --seeds 5 \
	  --json runs/demo/evaluation.json --report runs/demo/report.html
	$(BIN)/gnnrl train --from generalist --mesh online_boutique --steps 81920 --out runs/demo/tuned
	@echo "next, two terminals: $(BIN)/gnnrl sandbox --workload bursty --speed 10 --kubeconfig sandbox.kubeconfig"
	@echo "$(BIN)/gnnrl live --policy generalist --namespace onlineboutique --kubeconfig sandbox.kubeconfig \\"
	@echo "  --kiali-url http://127.0.0.1:20001/kiali --sandbox-url http://127.0.0.1:8002"

test: $(DEV_STAMP) ## the quick test-suite
	$(BIN)/pytest -q -n 2 --dist loadfile

test-slow: $(DEV_STAMP) ## the learning tests, minutes each
	$(BIN)/pytest -q -m slow

check: $(DEV_STAMP) ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV_STAMP) ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

proto: $(DEV_STAMP) ## generate the gRPC code of the KEDA scaler from its contract
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --grpc_python_out=. gnnrl/live/keda/externalscaler.proto

bench: $(BENCH_STAMP) ## measure speed against NumPy, PyG and Stable-Baselines3
	$(BIN)/gnnrl bench

clean: ## remove the environment, builds and caches; runs/ stays
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

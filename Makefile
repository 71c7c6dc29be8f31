# Everything here works on a fresh machine with make and Python 3.11 or newer: the first target that needs it makes
# .venv from a lock with hashes. `make help` lists the targets.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# A file of tests at a time on each core and on one more (tests/conftest.py), in the order of the files there.
PYTEST ?= $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# The stamps carry the digest of what they were made from, so that a changed lock makes the environment anew.
DIGEST  = $(shell cat locks/$(1).lock pyproject.toml | $(PYTHON) -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:12])')
DEMO   := $(VENV)/lock-demo-$(call DIGEST,demo)
DEV    := $(VENV)/lock-dev-$(call DIGEST,dev)

.DEFAULT_GOAL := help
.PHONY: help demo test check format lint types imports policy bench conformance interop ingress soak fuzz bundle docs locks clean

help: ## list these targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

demo: $(if $(wildcard $(DEV)),,$(DEMO)) ## the whole gateway on loopback with a synthetic clinic, told as a story (ARGS="--keep")
	@$(BIN)/phigate demo $(ARGS)

test: $(DEV) ## run the tests (ARGS="tests/core -k mask" to run some)
	@$(PYTEST) $(ARGS)

check: format lint types imports policy ## all that is not a test: format, lint, types, import contracts, policy tests

format: $(DEV) ## is the code formatted? (make format FIX=1 formats it)
	@$(BIN)/ruff format $(if $(FIX),,--check --diff) .

lint: $(DEV) ## ruff's rules (make lint FIX=1 mends what it can)
	@$(BIN)/ruff check $(if $(FIX),--fix) .

types: $(DEV) ## mypy --strict
	@$(BIN)/mypy

imports: $(DEV) ## the import contracts: arrows point inward, core is pure
	@$(BIN)/lint-imports --no-logo

policy: $(DEV) ## test the shipped policies
	@$(BIN)/phigate policy test policies

bench: $(DEV) ## requests per second and latency beside the peers, and where the time goes
	@$(BIN)/python -m benchmarks $(ARGS)

conformance: $(DEV) ## the official MCP suite, directly and through the gateway, side by side
	@$(BIN)/python -m tests.conformance

interop: $(DEV) ## real clients at real servers through the gateway, written into docs/interop.md
	@$(BIN)/python -m tests.interop

ingress: $(DEV) ## nginx, Envoy and HAProxy: the whole official suite, restarts under load, a call held for 10 minutes
	@$(BIN)/python -m tests.ingress $(ARGS)

soak: $(DEV) ## kill -9 the gateway in a loop under load, then audit what it left (ARGS="--minutes 10")
	@$(BIN)/python -m benchmarks.soak $(ARGS)

fuzz: $(DEV) ## odd clients and odd upstreams against a whole gateway (ARGS="--minutes 10 --seed 1")
	@$(BIN)/python -m benchmarks.fuzz $(ARGS)

bundle: $(DEV) ## build policies/ into the bundle that is shipped
	@$(BIN)/phigate bundle build policies -o gateway/pdp/library.tar.gz

docs: $(DEV) ## write anew what the documents quote: the commands' help, the schemas and the demo's output
	@$(BIN)/python -m tests.test_docs

locks: ## resolve the locks anew (needs uv)
	uv pip compile pyproject.toml --all-extras --group dev -o locks/dev.lock $(UVFLAGS)
	uv pip compile pyproject.toml --extra demo --group build -c locks/dev.lock -o locks/demo.lock $(UVFLAGS)
	uv pip compile pyproject.toml $(addprefix --extra ,postgresql saml telemetry) --group build -c locks/dev.lock -o locks/serve.lock $(UVFLAGS)
UVFLAGS := --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes --no-emit-index-url \
	--no-annotate --custom-compile-command "make locks"

clean: ## remove what the targets made: environment, caches, demo state
	rm -rf $(VENV) .phigate-demo .cache build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	find gateway tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(DEMO) $(DEV):
	@$(PYTHON) locks/install.py $(word 2,$(subst -, ,$(notdir $@)))
	@rm -f $(VENV)/lock-* && touch $@

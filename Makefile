# Every target prepares what it needs itself: `make setup` is quick when nothing is missing.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
PYTEST := $(BIN)/pytest
WORKERS ?= 2
LAB_HOST ?= lab
FUZZ_SECONDS ?= 60
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)
NEED_ROOT = @[[ $$(id -u) == 0 ]] || { echo "$@: private libvirt hosts need root: sudo make $@; \
	make unit runs the tests that need none" >&2; exit 1; }

.PHONY: help setup demo test unit lint fmt golden integration bench fuzz lab docs clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## Install what is missing: system packages (as root or by sudo), then .venv from uv.lock
	@scripts/setup

demo: setup ## Show kvmplan at work on a private libvirt host of its own
	@scripts/demo

test: setup ## Run every test, those against a real libvirtd and its guests included (needs root)
	$(NEED_ROOT)
	$(PYTEST) -n $(WORKERS) --dist loadfile --max-worker-restart 0

unit: setup ## Run the tests that need no daemon
	$(PYTEST) -n $(WORKERS) -m "not integration"

lint: setup ## Check style, types and the layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: setup ## Format the code and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

golden: setup ## Rewrite the expected parts of the golden cases
	$(PYTEST) -m "not integration" --update-golden

integration: setup ## Run the tests against a real libvirtd only (needs root)
	$(NEED_ROOT)
	$(PYTEST) -n $(WORKERS) --dist loadfile --max-worker-restart 0 -m integration

bench: setup ## Measure kvmplan and print the numbers
	$(NEED_ROOT)
	$(BIN)/python -m tests.benchmarks

fuzz: setup ## Search for inputs that break kvmplan, FUZZ_SECONDS for each kind (60)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || \
	  UV_SYSTEM_CERTS=1 .make/uv/bin/uv sync --quiet --frozen --group fuzz || \
	  $(BIN)/python -m pip install --quiet 'atheris>=3.0'
	$(BIN)/python -m tests.fuzz $(FUZZ_SECONDS)

lab: setup ## Start a private libvirt host to play with, and say how to use it (needs root)
	@uri=$$($(AS_ROOT) tests/lab up $(LAB_HOST)); printf '%s\n' \
	  "The private host '$(LAB_HOST)' is up. Nothing of this machine's own libvirt is touched." "" \
	  "  URI:          $$uri" \
	  "  look:         virsh -c '$$uri' list --all" \
	  "  plan:         $(BIN)/kvmplan plan --connect '$$uri'" \
	  "  a shell in:   tests/lab exec $(LAB_HOST) bash" \
	  "  a tiny guest: tests/lab guest   (prints the directory of its kernel and initramfs)" \
	  "  remove it:    tests/lab down $(LAB_HOST)"

docs: setup ## Write the generated pages and schemas
	$(BIN)/python scripts/docs.py

clean: ## Remove the virtual environment, caches and build results
	rm -rf .venv .make dist build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .fuzz
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One command per intent. A bare machine needs make, Python 3.11 or 3.12 and x86_64 Linux; all else is installed under .venv/ and .local/.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= $(shell tools/find-python)
MEMBERS := libs/common libs/stack libs/simulators libs/operator services/extractor services/importer services/verifier services/chat services/participants
READY := .venv/.ready
BIN := .venv/bin

.PHONY: help setup demo demo-participants test chaos check bench format lock generate demo-docker test-docker clean

help: ## what can be typed
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 19

setup: $(READY) ## install everything into .venv/

# A virtual environment holds its own path: in a folder that was moved or copied it is made anew.
HERE := $(shell grep -sF -- "-m venv $(CURDIR)/.venv" .venv/pyvenv.cfg)
ifeq ($(HERE),)
.PHONY: $(READY)
endif

$(READY): requirements.lock Makefile $(addsuffix /pyproject.toml,$(MEMBERS))
	@test -n "$(PYTHON)" || { echo "chatferry needs Python 3.11 or 3.12 on x86_64 Linux: none was found on PATH. Install one, or name it: make PYTHON=/path/to/python3.12"; exit 2; }
	@test -n "$(HERE)" || rm -rf .venv
	@test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	@echo "installing the pinned packages (about a minute the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(addprefix -e ,$(MEMBERS))
	@touch $@

demo: $(READY) ## move a portal's users, chats and messages over a real Kafka, and see the report that proves it
	@$(BIN)/chatferry demo

demo-participants: $(READY) ## participant counts that follow a MAX platform, live, and the verdict (about a minute and a half)
	@$(BIN)/chatferry demo participants

demo-docker: ## the same in containers, with the public images and ours (needs Docker, nothing else)
	@tools/demo-docker

test-docker: $(READY) ## the integration tests, kills and outages on containers (needs Docker)
	@tools/containers-check

# Three at a time: tests wait for servers more than they work. A file stays together, and the long ones (chaos) come first.
test: $(READY) ## every test
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

chaos: $(READY) ## kills, outages and other disturbances at length: PASS, figures and seed of each (about two hours)
	@$(BIN)/python -m tests.chaos all --long

check: $(READY) ## lint, types, import rules, generated documents, alerts (these need promtool)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy tests tools
	@$(BIN)/lint-imports
	@$(BIN)/python -m tools.documents --check
	@tools/check-alerts

generate: $(READY) ## make the documents that come from the code: topics, schemas, AsyncAPI, OpenAPI, configuration
	@$(BIN)/python -m tools.documents

bench: $(READY) ## the numbers, as a table (about fifteen minutes)
	@$(BIN)/python tests/bench/run.py

format: $(READY) ## let ruff format the tree
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

lock: ## resolve requirements.lock anew (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate --quiet \
	  $(foreach m,common extractor importer verifier chat participants operator stack simulators,--no-emit-package chatferry-$(m)) pyproject.toml -o requirements.lock

clean: ## stop what runs here, then remove what setup and runs created
	@if test -x $(BIN)/chatferry && test -d .local; then CHATFERRY_LOCAL=.local $(BIN)/chatferry down; fi
	@if test -x $(BIN)/python && test -d .local/test-stack; then $(BIN)/python -m chatferry.stack down --root .local/test-stack; fi
	@if test -e .local/kept; then echo "make clean: .local keeps the data of $$(paste -sd, .local/kept); if nobody needs them, remove .local yourself" >&2; exit 1; fi
	rm -rf .venv .local

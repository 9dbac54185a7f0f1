# The targets call small programs; what they do is in e2e/ and .ci/.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

# Runs a command with PATH, HOME and the caches set up; see e2e/tools/env.sh.
RUN := . e2e/tools/env.sh;
E2E := $(RUN) cargo run --locked -p carafe-e2e --

.PHONY: help demo up down tools test test-full bench lint sweep
.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

demo: tools ## A cluster on this machine, with a claim that two pods on two nodes share
	@$(E2E) demo

up: tools ## Start a Kubernetes cluster of two nodes on this machine and leave it running
	@$(E2E) up

down: ## Remove what `make up` or `make demo` left: processes, mounts, networks, files
	@$(E2E) down

test: tools ## Everything a change must pass: format, lints, unit and cluster tests
	@$(RUN) e2e/tools/tier test

test-full: ## `make test`, and the campaigns and matrices that take hours
	@e2e/tools/install --all
	@$(RUN) e2e/tools/tier full

bench: tools ## Compare the client with the real juicefs, line by line (ARGS="--engine sqlite --short" for a look)
	@$(RUN) e2e/tools/bench $(ARGS)

lint: ## Format and clippy only
	@$(RUN) e2e/tools/tier lint

tools: ## Install the Debian packages and build the Go programs that the tests use
	@e2e/tools/install

sweep: ## Remove the clusters of test runs that died
	@$(E2E) sweep

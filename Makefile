# `make run` and `make test` need nothing but a fresh Debian 12; `make help` lists the others.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PY := .venv/bin/python
ARGS ?=

.PHONY: help run demo-gate demo-scale demo-zaqar setup test test-rest test-fast lint types docs docs-check sanitize bench bench-collect bench-docs bench-gate bench-gate-series bench-ingest bench-pages bench-persister-cost bench-scale clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## the main job: two services, real requests, what Nilometer saw (ARGS=--once ends by itself)
	@scripts/setup run
	@$(PY) -m examples.orders.run $(ARGS)

demo-gate: setup ## a gate learns what a test suite costs on a real MariaDB and RabbitMQ, and catches two changes
	@$(PY) -m examples.storefront.demo $(ARGS)

demo-zaqar: setup ## OpenStack's Zaqar, unchanged, on a real Redis and MariaDB: its trees, its meters, what it costs
	@$(PY) -m examples.zaqar.demo $(ARGS)

demo-scale: setup ## every question over ten million spans, on DuckDB and on a Spark cluster: same answers, both times
	@$(PY) -m examples.scale.demo $(ARGS)

setup: ## system packages, .venv, our package with its C core: all that the other targets need
	@scripts/setup test

test: setup ## style, types, and on Python 3.11 every test that does not take long, real servers included
	@scripts/test test

test-rest: setup ## all other tests: slow ones, pure Python, every newer Python found, the C core sanitized
	@scripts/test rest

test-fast: setup ## the suite on Python 3.11 without real servers and slow tests, first failure first
	@NILOMETER_REQUIRE_C=1 $(PY) -m pytest -q --failed-first -m 'not real and not slow' $(ARGS)

lint: setup ## ruff: rules and format
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types: setup ## mypy --strict
	@$(PY) -m mypy

docs: setup ## make again the pages that are made from the source
	@scripts/docs

docs-check: setup ## the docs against the code, the promises against the tests
	@$(PY) -m pytest -q tests/house/test_docs.py tests/house/test_promises.py

sanitize: setup ## the C core under AddressSanitizer and UBSan
	@$(PY) -m nox -s sanitize

bench: ## Nilometer next to its peers, in nanoseconds, and the targets met or missed
	@scripts/setup bench
	@.venv-bench/bin/python scripts/import_cost.py
	@.venv-bench/bin/python -m bench.run $(ARGS)

bench-gate: setup ## the gate on a real MariaDB and PostgreSQL: false alarms in 100 runs, changes seen
	@$(PY) -m bench.gate.servers $(ARGS)

bench-docs: ## the same, written into docs/performance.md and docs/measuring.md; on an idle machine
	@mkdir -p build
	@$(MAKE) bench ARGS='--json build/bench.json'
	@.venv-bench/bin/python -m bench.page build/bench.json --write

bench-collect: setup ## what reading four real backends costs, as a process: time and memory beside the target
	@$(PY) -m bench.collect $(ARGS)

bench-persister-cost: setup ## what measuring costs Monasca's persister: its loop, the service, instructions a message
	@$(PY) -m bench.persister --service --instructions $(ARGS)

bench-ingest: setup ## spans, statsd lines and readings sent for ten minutes each: what is taken, what falls short
	@$(PY) -m bench.ingest $(ARGS)

bench-pages: setup ## what each page costs on ten million readings and a million spans, beside what is wanted
	@$(PY) -m bench.pages $(ARGS)

bench-scale: setup ## what a collector costs, what a fleet for a million spans a second needs, and a thousandth of it tried
	@$(PY) -m bench.scale $(ARGS)

bench-gate-series: setup ## the gate's rules next to published ones, on labelled series; tables for docs/gate-evidence.md
	@scripts/install-otava
	@$(PY) -m bench.gate.table

clean: ## remove all that was built or installed here
	rm -rf .venv .venv-bench .nox build dist node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src -name '*.so' -delete -o -name '__pycache__' -prune -exec rm -rf {} +
	rm -rf src/*.egg-info

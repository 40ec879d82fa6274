# NetRaven's commands for a checkout. Each sets up what it needs by itself, in .venv, from hashed lock files.
#
#   PYTHON=python3.12   which Python to use (3.11 or newer)
#   DEVICES=500         size of the demo's fleet
#   ARGS="-k lockout"   passed on to demo, pytest, the benchmarks or the lock's resolver

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; exit; }; done; echo python3)
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); \
	if [ "$$n" -ge 2 ]; then echo "$$n"; else echo 2; fi)
DEVICES ?=
ARGS ?=

PY := .venv/bin/python
LOCK := $(PY) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --annotation-style=line

.DEFAULT_GOAL := help
.PHONY: help demo test check bench lock clean python runtime dev needs

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile | expand -t 16

demo: runtime ## collect a simulated fleet over real SSH, with live progress and a report
	@.venv/bin/netraven demo $(if $(DEVICES),--devices $(DEVICES)) $(ARGS)

test: check needs ## everything that has to pass: `check`, then all tests in parallel
	@$(if $(filter true,$(CI)),NETRAVEN_TEST_REQUIRE_ALL=1) $(PY) -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

check: dev ## format, lint, types, the direction of imports, links in the documentation
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy netraven tests scripts
	@.venv/bin/lint-imports --no-logo
	@$(PY) scripts/check_docs.py

bench: python ## measure NetRaven beside its peers, on the same simulated fleet
	@"$(PYTHON)" scripts/venv.py .venv-bench bench
	@.venv-bench/bin/python -m benchmarks $(ARGS)

lock: dev ## resolve requirements/*.txt anew from pyproject.toml (ARGS=--upgrade takes newer versions)
	@$(LOCK) $(ARGS) pyproject.toml -o requirements/runtime.txt
	@$(LOCK) $(ARGS) --group build -o requirements/build.txt
	@$(LOCK) $(ARGS) -c requirements/runtime.txt -c requirements/build.txt --group dev pyproject.toml -o requirements/dev.txt
	@$(LOCK) $(ARGS) -c requirements/build.txt --group fakenos -o requirements/fakenos.txt
	@$(LOCK) $(ARGS) -c requirements/dev.txt --group bench pyproject.toml -o requirements/bench.txt

clean: ## remove environments, caches and build results
	@rm -rf .venv .venv.lock .venv-bench .venv-bench.lock .venv-fakenos .venv-fakenos.lock build dist
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

python:
	@command -v "$(PYTHON)" >/dev/null || { echo "netraven: no $(PYTHON) here. Install Python 3.11 or newer" \
		"(Debian, Ubuntu: apt-get install python3 python3-venv) or name one: make PYTHON=..." >&2; exit 1; }

runtime: python
	@"$(PYTHON)" scripts/venv.py .venv build runtime

dev: python
	@"$(PYTHON)" scripts/venv.py .venv build runtime dev

needs: python
	@sh scripts/test_needs.sh
	@"$(PYTHON)" scripts/venv.py .venv-fakenos fakenos || { [ "$(CI)" != true ] && \
		echo "netraven: the tests that need FakeNOS are skipped" >&2; }

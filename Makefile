# What a person or a CI job does here; `make help` lists it.

VENV := .venv/bin
DEMO := .cache/demo

.DEFAULT_GOAL := help
.PHONY: help install demo guest-demo test lint format types docs bench fuzz clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: ## Make .venv with everything for development
	@.ci/setup install

demo: ## Profile a real PyTorch training from a cold page cache, and write its report
	@.ci/setup demo
	@$(VENV)/python benchmarks/demo/make_images.py $(DEMO)/images
	$(VENV)/edgeprof run --auto --name demo -- $(VENV)/python benchmarks/demo/train.py $(DEMO)/images --checkpoint $(DEMO)/model.pt

guest-demo: ## In QEMU guests: capture runs, train a model on them, load it, compare mq-kmlib with mq-deadline
	@.ci/setup test
	$(VENV)/python benchmarks/kml_latency_runs.py $(DEMO)/latency --disk sdcard --seeds 2
	$(VENV)/edgeprof kml train latency $(DEMO)/latency -o $(DEMO)/mq-kmlib.kml
	$(VENV)/edgeprof kml bench schedulers -o $(DEMO)/schedulers --model $(DEMO)/mq-kmlib.kml --disk sdcard \
		--scheduler mq-kmlib --workload log-writeback --workload training-checkpoint --repeats 3

test: ## Set this machine up, then lint, types and every test (skips say what is missing)
	@.ci/setup test
	@$(MAKE) --no-print-directory lint types
	$(VENV)/python -m pytest -n logical --maxprocesses 3 --dist loadfile

lint: install ## Check style and formatting
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .

format: install ## Format the code, and mend what can be mended
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .

types: install ## Check types, strictly
	$(VENV)/mypy

docs: install ## Check that no link between the pages is broken
	$(VENV)/python -m pytest -q tests/unit/test_docs.py

bench: install ## Measure edgeprof beside other tools (as root, on an idle machine)
	@for script in benchmarks/bench_*.py; do echo "$$script"; $(VENV)/python "$$script" || exit 1; done

fuzz: install ## Fuzz every parser for a minute each
	EDGEPROF_FUZZ_SECONDS=60 $(VENV)/python -m pytest -q tests/fuzz

clean: ## Remove what builds, tests and the demo left (not .venv, not captured runs)
	rm -rf build dist *.egg-info .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

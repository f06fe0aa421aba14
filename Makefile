# Every target runs in the active environment or else in .venv, which the first call makes.
# A torch that is there already stays; TORCH names the one to install where there is none.
PYTHON ?= python3
TORCH ?= torch==2.13.0
export TORCH
# A test process for each processor, four at most: each holds torch in memory.
WORKERS ?= --numprocesses logical --maxprocesses 4 --dist worksteal
export WORKERS
WITH := $(PYTHON) scripts/environment.py

.PHONY: help demo test verify weights check bench docs wheel clean
help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

demo: ## train, warp, time; writes demo-output/index.html
	@$(WITH) demo -- pyfast demo $(ARGS)

test: ## the test suite, without what takes long
	@$(WITH) test -- python -m pytest $(WORKERS) -m "not slow" $(ARGS)

verify: ## the whole test suite
	@$(WITH) test -- python -m pytest $(WORKERS) $(ARGS)

weights: ## train the small models whose weights ship with the package
	@$(WITH) test -- python scripts/weights.py $(ARGS)

check: ## lint, types, sanitizers, CUDA compile, docs, wheel; ONLY="lint types" runs some
	@$(WITH) dev -- python scripts/check.py $(ONLY)

bench: ## time against torch and others; CASES="pattern" picks some
	@$(WITH) bench -- python -m benchmarks "$(CASES)"

docs: ## the documentation, as a site in site/
	@$(WITH) docs -- mkdocs build --strict

wheel: ## dist/*.whl and dist/*.tar.gz, tried outside the tree
	@$(WITH) dev -- python scripts/wheel.py

clean: ## remove what the other targets made, except .venv
	rm -rf build dist site demo-output pyfast/_C*.so *.egg-info .*_cache .benchmarks .hypothesis

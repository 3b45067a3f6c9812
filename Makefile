# make PYTHON=/path/to/python3 … makes .venv with that Python; make test ARGS="-k name" hands arguments on;
# make gpu CUDA=13 for a driver of CUDA 13.
PYTHON := $(or $(PYTHON),python3)
ARGS :=
CUDA := 12
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=worksteal

# The extras of pyproject.toml that the goals need, installed together before the first of them starts.
extras_setup := test workers check
extras_test  := test workers
extras_test-all := test workers check tables mpi dask
extras_long  := test
extras_verify-full := test
extras_lint  := check
extras_types := test check
extras_wheel := check
extras_docs  := docs
extras_cuda  := $(if $(shell command -v nvcc),,nvrtc)
extras_check := test workers check $(extras_cuda)
extras_bench := bench
extras_gpu   := test cuda$(CUDA)
extras_wild := test
extras_bench-once := test
EXTRAS := $(sort $(foreach goal,$(MAKECMDGOALS),$(extras_$(goal))))

unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV
# Hundreds of processes that the tests start would each compile the sources anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-all long verify-full check lint types wheel docs cuda gpu bench wild proofs bench-once setup clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s  %s\n", $$1, $$2 }' Makefile

demo: setup ## train on handwritten digits, check the gradients, compare backends
	@$(BIN)/backprop-ref demo $(ARGS)

test: setup ## run the tests, in up to four processes
	@$(PYTEST) $(ARGS)

test-all: setup ## all combinations of parameters, too: what the continuous integration runs
	@$(PYTEST) --repetitions $(ARGS)
	@$(PYTEST) $(ARGS)

long: setup ## run the classic experiments in full: some minutes
	@$(BIN)/python -m pytest -m long $(ARGS)

verify-full: setup ## the pinned runs in full, and every network on every backend: half an hour
	@$(BIN)/python -m pytest -m long tests/test_identical.py $(ARGS)

check: lint types wheel cuda proofs bench-once test ## everything that has to pass: lint, types, wheel, cuda, proofs, bench-once, test

lint: setup ## ruff: mistakes, and the format of the code
	@$(BIN)/python -m ruff check --output-format=concise .
	@$(BIN)/python -m ruff format --check .

types: setup ## mypy
	@$(BIN)/python -m mypy

wheel: setup ## build sdist and wheel into dist/ and look into them
	@$(BIN)/python ci/check_wheel.py

docs: setup ## build the site into build/docs, every notebook run, warnings as errors
	@$(BIN)/python ci/site

cuda: setup ## compile the CUDA kernels for every generation of GPUs, without one; NVRTC's wheel is 90 MB
	@$(BIN)/python ci/cuda.py

gpu: setup ## where there is a GPU: the tests with cupy required, then times, into a transcript
	@ci/gpu.sh $(ARGS)

bench: setup ## time whole steps of backends, peers and limits in turn, after comparing gradients: some minutes
	@$(BIN)/python bench/ladder.py $(ARGS)

wild: setup ## what the checker finds in releases of other libraries, measured again where they are installed
	@$(BIN)/python ci/wild.py

proofs: setup ## the bound on the error of exp, proved by Gappa where it is installed; all five: python ci/gappa.py
	@$(BIN)/python ci/gappa.py exp

bench-once: setup ## run every benchmark once on small networks, without timing it
	@$(BIN)/python -m pytest bench --benchmark-disable --quiet $(ARGS)

setup: ## make or update .venv, which the other targets do by themselves
	@command -v '$(PYTHON)' >/dev/null || { echo 'setup: $(PYTHON) not found: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3' >&2; exit 1; }
	@'$(PYTHON)' ci/bootstrap.py $(EXTRAS)

clean: ## remove everything that make makes, .venv too
	rm -rf .venv .venv.tools build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

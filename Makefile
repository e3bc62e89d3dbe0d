# Two commands do everything on a machine with Python 3.11+ and make: `make experiment` and `make test`.
PYTHON ?= python3
VENV ?= .venv
RUN = runs/quick

.PHONY: help experiment test lint types faults docs benchmark clean

help:
	@echo "make experiment   train, evaluate and compare the six models on MNIST-SVHN-Text (minutes on 2 cores)"
	@echo "make test         lint, types and tests"
	@echo "make faults       kill runs, fill disks and damage files for five minutes, into docs/reliability.md"
	@echo "make docs         build the documentation into docs/_build/html"
	@echo "make benchmark    speed, memory and quality side by side with MultiVae (benchmarks/run.py); likelihoods, the cost of"
	@echo "                  refinement and proxies, how cost grows"

# The environment is made once, and again when the dependencies change.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("mmvae needs Python 3.11 or later; try make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --editable '.[test]'
	@touch $@

experiment: $(VENV)/.installed
	$(VENV)/bin/python experiments/mnist_svhn_text.py --model all --preset quick --out $(RUN) --resume

# A process for each core, up to four, and each on one thread: the tests that train would wait for each other's threads.
test: lint types
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/.installed
	$(VENV)/bin/mypy mmvae

$(VENV)/.installed-docs: $(VENV)/.installed
	$(VENV)/bin/python -m pip install --quiet --editable '.[docs]'
	@touch $@

# Runs that are killed and starved, and files that are changed, for minutes; make test does a few seconds of it.
faults: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(VENV)/bin/python tests/faults/long.py --minutes 5 --out docs/reliability.md

docs: $(VENV)/.installed-docs
	$(VENV)/bin/python -m sphinx -W --keep-going -b html docs docs/_build/html

$(VENV)/.installed-peers: $(VENV)/.installed
	$(VENV)/bin/python -m pip install --quiet --editable '.[peers]'
	@touch $@

benchmark: $(VENV)/.installed-peers
	$(VENV)/bin/python benchmarks/run.py --device auto --out docs/results/benchmark.md
	$(VENV)/bin/python benchmarks/bare.py --out docs/results/benchmark.md
	$(VENV)/bin/python benchmarks/exact_likelihood.py --out docs/results/exact_likelihood.md
	$(VENV)/bin/python benchmarks/agreement.py --out docs/results/speed.md
	$(VENV)/bin/python benchmarks/train_step.py --out docs/results/speed.md
	$(VENV)/bin/python benchmarks/epoch.py --out docs/results/speed.md
	$(VENV)/bin/python benchmarks/refinement_cost.py --out docs/results/speed.md
	$(VENV)/bin/python benchmarks/proxy_cost.py --encoders small ViT-B --batch-sizes 1 8 --out docs/results/speed.md
	$(VENV)/bin/python benchmarks/cost_curves.py --preset quick --out docs/results/cost_curves.md

clean:
	rm -rf $(VENV) build dist *.egg-info docs/_build docs/jupyter_execute .pytest_cache .mypy_cache .ruff_cache

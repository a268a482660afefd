# make train: trains configs/mnist_fc.gin for a few epochs. make test: runs the tests. Both make their own environment first.
PYTHON ?= python3
VENV ?= .venv
EPOCHS ?= 5
CONFIG ?= configs/mnist_fc.gin
BIN = $(VENV)/bin

.PHONY: train test check clean

train: $(VENV)/.installed
	$(BIN)/python scripts/train.py --gin_file=$(CONFIG) --gin_bindings=train.epochs=$(EPOCHS) $(FLAGS)

test: $(VENV)/.installed
	$(BIN)/python -m pytest

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info

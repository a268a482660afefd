# make train: trains configs/mnist_fc.gin for a few epochs. make test: runs the tests. make docs:
# builds the site. All make their own environment first.
PYTHON ?= python3
VENV ?= .venv
EPOCHS ?= 5
CONFIG ?= configs/mnist_fc.gin
BIN = $(VENV)/bin

# The runs that docs/inverses.md compares. Those of convolutions:
# make inverses RUNS='mnist_conv mnist_conv_least_squares mnist_conv_exact'
RUNS ?= mnist_fc mnist_fc_projected mnist_fc_newton_schulz mnist_fc_exact

.PHONY: train test check docs pages picture clean inverses estimators reproduce results

train: $(VENV)/.installed
	$(BIN)/python scripts/train.py --gin_file=$(CONFIG) --gin_bindings=train.epochs=$(EPOCHS) $(FLAGS)

test: $(VENV)/.installed
	$(BIN)/python -m pytest

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site. The variable silences what Material for MkDocs says of later versions.
docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	$(BIN)/python scripts/check_links.py site
	@echo "The site: site/index.html"

# Runs the code of the tutorials in full, and writes what it prints and draws into them.
PAGES ?= docs/own_layer.md docs/faq.md docs/inverses.md $(wildcard docs/tutorials/*.md)
pages: $(VENV)/.installed
	$(BIN)/python scripts/run_pages.py $(PAGES)

# The picture of the README, from records and a run with good samples.
SAMPLES ?= runs/mnist_glow
RECORDS = $(foreach run,mnist_fc mnist_fc_projected mnist_fc_newton_schulz mnist_fc_exact,\
    docs/records/$(run)-seed0)
picture: $(VENV)/.installed
	$(BIN)/python scripts/why.py $(RECORDS) --samples=$(SAMPLES) --output=docs/why.png $(FLAGS)

$(VENV)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

inverses: $(VENV)/.installed
	for run in $(RUNS); do \
	    $(BIN)/python scripts/train.py --gin_file=configs/$$run.gin --run_dir=runs/$$run \
	        --gin_bindings=train.epochs=$(EPOCHS) $(FLAGS) || exit 1; \
	done
	$(BIN)/python scripts/compare.py $(addprefix runs/,$(RUNS)) --output=inverses.png

# The tables of docs/residual_flows.md.
estimators: $(VENV)/.installed
	$(BIN)/python scripts/estimators.py
	$(BIN)/python scripts/estimators.py --memory

# A table of a paper: make reproduce TABLE=snf.1 BUDGET=minutes=60. A figure:
# make reproduce FIGURE=snf.3. All of them: make reproduce TABLE=all FIGURE=all
FIGURE ?=
TABLE ?= $(if $(FIGURE),,snf.1)
BUDGET ?= smoke
reproduce: $(VENV)/.installed
	$(BIN)/python scripts/reproduce.py --table=$(TABLE) --figure=$(FIGURE) --budget=$(BUDGET) $(FLAGS)

# docs/results.md, of the records in docs/records.
results: $(VENV)/.installed
	$(BIN)/python scripts/reproduce.py --results

clean:
	rm -rf $(VENV) build site *.egg-info

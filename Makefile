# make demo: install into .venv, render the toy birds, train TF-VAEGAN and DAZLE on them, write a report of each.
# make test: linting and all tests.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test install figures clean

install: $(VENV)/installed

# Done again whenever the requirements change. Half-made environments are not marked as installed.
$(VENV)/installed: pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(None if sys.version_info >= (3, 10) else 'Python 3.10 or newer is needed: make PYTHON=python3.11 ...')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev,video,images,words,web,notebooks]'
	touch $@

demo: install
	$(BIN)/python zero-shot-images/image-scripts/run_toy_tfvaegan.py --overwrite
	$(BIN)/python zero-shot-images/image-scripts/run_toy_dazle.py --overwrite

test: install
	$(BIN)/python -m ruff check .
	$(BIN)/python -m pytest

figures: install
	$(BIN)/python images/draw_figures.py

clean:
	rm -rf $(VENV) build *.egg-info

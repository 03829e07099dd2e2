# make demo       install the core into .venv, render the toy birds, train TF-VAEGAN and DAZLE on them, write a report of each
# make quick      the unit tests without the slow ones, in less than a minute
# make test       install the rest; format, lint, types, layers of imports, every test but the campaigns; tells which took longest
# make campaigns  mutated files, faults of the machine, long visits of the page: hours; fewer by CASES=500 ROUNDS=1
# make docs       the documentation site, in docs/_build/html
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
EXTRAS := dev,docs,video,images,words,text,web,hub,ray,slurm,search,notebooks

.PHONY: campaigns fuzz faults demo check test quick docs figures install clean

install: $(VENV)/installed

# uv installs four times as fast as pip.
UV  := $(shell command -v uv)
PIP := $(if $(UV),$(UV) pip install --quiet --python $(BIN)/python,$(BIN)/python -m pip install --quiet)

# Both are repeated whenever the requirements change. An environment is marked as installed only when it is complete.
$(VENV)/core: pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(None if sys.version_info >= (3, 10) else 'Python 3.10 or newer is needed: make PYTHON=python3.11 ...')"
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

$(VENV)/installed: $(VENV)/core
	$(PIP) --editable '.[$(EXTRAS)]'
	touch $@

demo: $(VENV)/core
	$(BIN)/python examples/demo.py --overwrite

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Workers share out the test files, in alphabetical order: short ones come last. Each computes with one thread.
WORKERS ?= auto
PYTEST  := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist loadfile --no-loadscope-reorder

test: check
	$(PYTEST) --durations 25

quick: install
	$(PYTEST) tests/unit -m "not slow and not campaign"

docs: install
	rm -rf docs/api
	$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build/html

figures: install
	$(BIN)/python images/draw_figures.py

clean:
	rm -rf $(VENV) build docs/_build *.egg-info

campaigns: fuzz faults
	$(PYTEST) tests/integration -m campaign

# Every reader on 10,000 mutated files, as a table; other numbers by `make fuzz CASES=500`.
CASES ?= 10000
fuzz: install
	PYTHONPATH=tests $(BIN)/python -m fuzz --cases $(CASES)

# Kills, full disks, two processes, too little memory; more rounds of kills by `make faults ROUNDS=100`. Mounts of its own,
# where the system allows them, give it small and read-only disks.
ROUNDS ?= 3
MOUNTS := $(shell unshare -Urm true 2>/dev/null && echo 1)
faults: install
	ZSLAB_FAULT_ROUNDS=$(ROUNDS) ZSLAB_FAULT_MOUNTS=$(MOUNTS) OMP_NUM_THREADS=1 \
		$(if $(MOUNTS),unshare -Urm) $(BIN)/python -m pytest tests/faults -m campaign

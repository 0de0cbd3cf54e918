# make demo: a chatbot from nothing. make test: the tests. Both set everything up in .venv first; nothing else is needed
# than Python 3.11 or newer, git and make. pip's own settings (PIP_INDEX_URL, PIP_FIND_LINKS, pip.conf, …) are honoured.

PYTHON ?= python3
BIN := .venv/bin
# Two workers: each test is small, and torch in each gets one thread, so that they do not fight for the cores.
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: demo test check accept test-long clean

demo: .venv/.ready-data
	$(BIN)/chatwright quickstart --out runs/quickstart
	@if [ -t 0 ]; then $(BIN)/chatwright chat runs/quickstart/grpo; fi

test: .venv/.ready-dev
	$(PYTEST) -n $(WORKERS) --dist loadfile

check: .venv/.ready-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(PYTEST) -q tests/test_floors.py

# The quickstart held to its table, twenty kills, the referees: under 45 minutes. All cores are its own.
accept: .venv/.ready-dev
	$(BIN)/python -m pytest -m accept

test-long: .venv/.ready-dev
	$(PYTEST) -m long

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "chatwright needs Python 3.11 or newer; say which with: make PYTHON=/path/to/python $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.ready-data: EXTRAS := data
.venv/.ready-dev: EXTRAS := data,dev
.venv/.ready-data .venv/.ready-dev: pyproject.toml constraints.txt | .venv/bin/python
	@$(BIN)/python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)' || { \
		echo "pip now fetches PyTorch. The build it takes by default on Linux is made for NVIDIA cards: about 0.5 GB and, with"; \
		echo "the CUDA libraries beside it, some 3 GB. The build for processors only is about 0.2 GB: to have that one, stop here"; \
		echo "and give pip the address that pytorch.org shows under Get Started, Compute Platform CPU:"; \
		echo "    PIP_EXTRA_INDEX_URL=<that address> make $(MAKECMDGOALS)"; } >&2
	$(BIN)/python -m pip install -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

# Everything sets itself up in .venv; a second call starts at once.
#
# make music PYTHON=python3.12    with another Python
# make music CUDA=1               with torch for NVIDIA GPUs, though no driver is found here

PYTHON ?= python3
BIN := .venv/bin
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: music page test check format clean

# A piece continued, in output/.
music: .venv/.installed
	$(BIN)/muse-generate midi --prompt bach-prelude --seconds 20 --seed 7 --out output

# The page, in a browser: Ctrl-C ends it.
page: .venv/.installed
	$(BIN)/muse-web

# On all cores, up to four: more than four would wait for the page's browser. One: make test WORKERS=0
WORKERS ?= auto
test: .venv/.installed-dev
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) --maxprocesses=4 --dist=loadfile

# Lint, format, types, import contracts.
check: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv output

.venv/.installed: pyproject.toml constraints.txt hatch_build.py $(wildcard muse_shortcut/native/*.[ch]) muse_shortcut/native/compiling.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "muse-shortcut needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (once; a few minutes)"
	@# Without an NVIDIA driver the CPU build of torch does, if pip can find one: not every index has it.
	@if test "$(CUDA)" = 1; then $(INSTALL) 'torch===$(TORCH)'; \
	elif test "$$(uname -s)" = Linux && ! test -e /proc/driver/nvidia/version && ! command -v nvidia-smi >/dev/null; then \
	  $(INSTALL) 'torch==$(TORCH)+cpu' 2>/dev/null || \
	    echo "pip's index has no CPU build of torch $(TORCH): taking the one for NVIDIA GPUs, 5.2 GB in all instead of 1.4 (docs/installation.md says how to avoid that)"; \
	fi
	$(INSTALL) --editable .
	@touch $@

.venv/.installed-dev: .venv/.installed
	$(INSTALL) --editable '.[dev]'
	@touch $@

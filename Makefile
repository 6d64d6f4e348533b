# The README's two commands. Everything else is set up by them, in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find src profiler predictor search device_configs -name '*.py' -o -name '*.toml')

.PHONY: quickstart test lint docs install

quickstart: $(VENV)/installed
	$(BIN)/latlas quickstart $(QUICKSTART_ARGS)

test: $(VENV)/installed-for-tests
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/installed-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml ../examples/*.py ../benchmarks/*.py

# The guides, and the reference of the modules as they are installed, as a user has them.
docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --group docs
	$(BIN)/sphinx-build -qW --keep-going -c docs -d build/doctrees . build/docs
	cp build/docs/README.html build/docs/index.html
	$(BIN)/python docs/reference.py build/docs/reference

install: $(VENV)/installed

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) \
	  else f"latlas needs Python 3.11 to 3.13, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

# A normal install, not an editable one: mypy does not resolve the mapped folders of the latter.
$(VENV)/installed: $(BIN)/python pyproject.toml $(SOURCES)
	$(BIN)/python -m pip install --quiet .
	@rm -rf build *.egg-info
	@touch $@

$(VENV)/installed-for-tests: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --group test --group lint
	@touch $@

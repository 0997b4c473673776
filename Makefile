# `make` alone explains the targets.
VENV ?= .venv
PYTHON ?= python3
STACK ?= upstream
OPS ?= auto

# The scripts take PYTHON as the interpreter to run, which is now that of the environment.
IN_VENV = . "$(VENV)/bin/activate" && PYTHON=python && export PYTHON &&

# A process of tests takes whole files, and up to 4 GB where a large model trains.
PYTEST = python -m pytest -n logical --maxprocesses 4 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help env quickstart test test-all lint docs clean

help:
	@echo 'make quickstart   train and test three small models on real images, a quarter of an hour'
	@echo 'make test         the quick tests'
	@echo 'make test-all     all tests, those that train too'
	@echo 'make lint         ruff, mypy, import-linter and codespell'
	@echo 'make docs         the documentation as a site, in site/'
	@echo 'make env          only the environment; the other targets make it as well'
	@echo 'make clean        remove caches and build leftovers'
	@echo
	@echo 'VENV=$(VENV)        directory of the virtual environment'
	@echo 'PYTHON=$(PYTHON)    interpreter to make it from, 3.10 to 3.12'
	@echo 'STACK=$(STACK)    upstream (OpenMMLab) or onedl (its maintained forks)'
	@echo 'OPS=$(OPS)          auto, cpu or cuda: what mmcv is compiled for'
	@echo 'ARGS=...          passed on to pytest, which runs a process a core (-n 0: in one)'

env:
	@VENV="$(VENV)" PYTHON="$(PYTHON)" STACK="$(STACK)" OPS="$(OPS)" bash tools/setup_env.sh

quickstart: env
	@$(IN_VENV) bash tools/quickstart.sh

test: env
	@$(IN_VENV) $(PYTEST) -m 'not slow' $(ARGS)

test-all: env
	@$(IN_VENV) $(PYTEST) $(ARGS)

lint: env
	@$(IN_VENV) pre-commit run --all-files

# pip asks no index for what is there already
docs: env
	@$(IN_VENV) python -m pip install -q --disable-pip-version-check \
	    -c requirements/common.txt -r requirements/docs.txt
	@$(IN_VENV) NO_MKDOCS_2_WARNING=1 mkdocs build $(ARGS)

clean:
	rm -rf build dist site ./*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

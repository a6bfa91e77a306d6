# The verbs of this repository. Each sets up what it needs; `make` alone lists them.

PYTHONS := $(or $(PYTHON),python3.12 python3.11 python3.10 python3 python)
USABLE := import ensurepip, sys, venv; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))
# pyenv keeps the Pythons that it has off the path until they are named.
PYENV := $(shell pyenv root 2>/dev/null)
ifneq ($(PYENV),)
export PATH := $(shell printf '%s:' $(wildcard $(PYENV)/versions/3.1[012].*/bin))$(PATH)
endif
ENVIRONMENT := .venv
READY := $(ENVIRONMENT)/ready
BIN := $(ENVIRONMENT)/bin
# On all cores, and one process more: tests wait for processes and for the network.
PYTEST := $(BIN)/python -m pytest --numprocesses=auto --dist=worksteal

ISSUE_FORMS = $(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))

.PHONY: help demo test soak check matrix format bench docs build clean

help:
	@echo "make demo    run an example workflow from end to end, without a key"
	@echo "make test    run the test suite on all cores, without the long tests"
	@echo "make soak    the long tests, and the random ones at length, with a new seed each time"
	@echo "make check   lint, formatting, types, and the files of .github against their schemas"
	@echo "make matrix  the suite on the oldest and newest of Python, flytekit and openai; ENVIRONMENTS=oldest for one"
	@echo "make format  put the code into its form"
	@echo "make bench   compare the package with the published one, in about half an hour"
	@echo "make docs    build the site: the pages and a reference of the API, in site/"
	@echo "make build   make the wheel and the sdist, and try the wheel with each extra in an empty environment"
	@echo "make clean   remove what the others made"

demo: $(READY)
	@$(BIN)/python examples/demo.py

test: $(READY)
	@$(PYTEST)

# The long tests, the fuzzer, and more examples of each property and more days of faults than `make test` has.
soak: SEED := $(or $(SEED),$(shell date +%s))
soak: $(READY)
	@echo "To see this run again: make soak SEED=$(SEED)"
	@FIRST_DAY=$(SEED) DAYS=$(or $(DAYS),3000) $(PYTEST) \
	  --hypothesis-profile=soak --hypothesis-seed=$(SEED) -m "hypothesis or days or long"

check: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/hadolint Dockerfile
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/check-jsonschema --quiet --builtin-schema custom.github-workflows-require-timeout .github/workflows/*.yml
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-issue-forms $(ISSUE_FORMS)
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	@$(BIN)/zizmor --offline --quiet --persona=pedantic .github

matrix: $(READY)
	@$(BIN)/tox run $(if $(ENVIRONMENTS),-e $(ENVIRONMENTS))

format: $(READY)
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

bench: $(READY)
	@$(BIN)/python -m benchmarks

# Without the theme's advice, of which pyproject.toml knows.
docs: export NO_MKDOCS_2_WARNING := 1
docs: $(READY)
	@$(BIN)/python -m mkdocs build --strict

build: $(READY)
	@rm -rf dist
	@$(BIN)/python -m build
	@$(BIN)/twine check --strict dist/*
	@$(BIN)/python -m tests.try_wheel dist/*.whl

clean:
	rm -rf $(ENVIRONMENT) benchmarks/.published dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache .tox site

$(READY): pyproject.toml
	@for python in $(PYTHONS); do \
	  if $$python -c '$(USABLE)' 2>/dev/null; then chosen=$$python; break; fi; \
	done; \
	if [ -z "$$chosen" ]; then \
	  echo "This needs Python 3.10, 3.11 or 3.12 with its venv module, and none of \"$(PYTHONS)\" is one;" \
	    "install one (on Debian: python3 and python3-venv), or say where it is: make PYTHON=/path/to/python3.12" >&2; \
	  exit 1; \
	fi; \
	echo "Setting up $(ENVIRONMENT) with $$($$chosen --version); this is done once and takes a minute or two."; \
	$$chosen -m venv --clear $(ENVIRONMENT) && $(BIN)/python -m pip install --quiet --editable '.[dev]' && touch $@

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: install demo test check bench chaos soak broker clean

install: $(VENV)/installed

# Built anew when the settings change.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/vedette demo --once $(ARGS)

test: install broker
	$(BIN)/python -m pytest $(ARGS)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

bench: install broker
	$(BIN)/python -m benchmarks $(ARGS)

# The long proofs; results are kept in benchmarks/results.
chaos: install broker
	$(BIN)/python -m tests.chaos.proof $(ARGS)

soak: install broker
	$(BIN)/python -m benchmarks.soak $(ARGS)

# Tests and benchmarks want mosquitto; where it cannot be had, they use the embedded broker.
broker:
	@PATH="$$PATH:/usr/sbin" command -v mosquitto >/dev/null \
		|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
			&& apt-get update -qq && apt-get install -y -qq --no-install-recommends mosquitto; } \
		|| echo "mosquitto is not installed: using the embedded broker, its contract tests are skipped"

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

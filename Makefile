# Two commands: `make demo` and `make test`. Everything they need is installed below .venv and frontend/node_modules.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VAR := $(or $(NEARER_VAR),var)
# Processes that test beside each other.
TEST_WORKERS ?= 2

.PHONY: demo test lint lock bench accuracy api shape clean setup

# --- installation: stamps make a second start quick ---
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Nearer needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-test: pyproject.toml $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,lint]'
	touch $@

FRONT := $(shell find frontend/src -type f) frontend/package.json frontend/package-lock.json frontend/build.mjs
frontend/dist/.built: $(FRONT) | $(VENV)/.installed
	BIN=$(abspath $(BIN)) sh frontend/build.sh
	touch $@

$(VAR)/static/.collected: frontend/dist/.built $(VENV)/.installed
	$(BIN)/python manage.py collectstatic --noinput --verbosity 0
	touch $@

setup: $(VENV)/.installed $(VAR)/static/.collected

# --- the two commands ---
demo: setup
	NEARER_DEMO=1 $(BIN)/python manage.py serve --demo

test: setup $(VENV)/.installed-test
	cd frontend && PATH=$(abspath $(BIN)):$$PATH npm test --silent
	BIN=$(abspath $(BIN)) sh tests/chromium.sh
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile

lint: $(VENV)/.installed-test $(VAR)/static/.collected
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/python -m tests.architecture.names
	$(BIN)/lint-imports
	$(BIN)/mypy
	cd frontend && PATH=$(abspath $(BIN)):$$PATH npm run lint --silent
	$(BIN)/djlint webapp labeling training --lint --quiet
	$(BIN)/djlint webapp labeling training --reformat --check --quiet
	$(BIN)/python manage.py makemigrations --check --dry-run

bench: setup $(VENV)/.installed-test
	$(BIN)/python -m benchmarks.start
	$(BIN)/python -m benchmarks.import_export
	$(BIN)/python -m benchmarks.annotator_loop
	$(BIN)/python -m benchmarks.lifter_speed
	$(BIN)/python -m benchmarks.crowd_models
	$(BIN)/python -m benchmarks.crowd_updates
	$(BIN)/python -m benchmarks.campaign_modes --votes 2000
	$(BIN)/python -m benchmarks.multiview --parts speed memory
	$(BIN)/python -m benchmarks.at_work
	$(BIN)/python -m benchmarks.indistinguishable
	$(BIN)/python -m benchmarks.bad_day

# Accuracy of lifters on motion of yours: make accuracy POSES=poses.npz (about two hours on two cores).
accuracy: setup $(VENV)/.installed-test
	$(BIN)/python -m benchmarks.lifter_accuracy --poses $(POSES) --parts bars fine-tune ladder sideways one-pair
	$(BIN)/python -m benchmarks.votes_needed --poses $(POSES)
	$(BIN)/python -m benchmarks.adversaries --poses $(POSES)
	$(BIN)/python -m benchmarks.multiview --poses $(POSES) --parts accuracy
	$(BIN)/python -m benchmarks.video --poses $(POSES) --parts completion real simulated ladder hour

# The API as it is, for the snapshot that a test compares.
api: setup
	$(BIN)/python manage.py spectacular --file docs/openapi.yaml

# Sizes and signs of the code; `make shape TREE=FOLDER` prints those of another tree.
shape: $(VENV)/.installed
	$(BIN)/python -m tests.architecture.shape $(TREE)

clean:
	rm -rf $(VENV) frontend/node_modules frontend/dist $(VAR)

lock: $(VENV)/.installed-test
	$(BIN)/python -m pip freeze --exclude-editable --disable-pip-version-check > constraints.txt

# Two commands work on a fresh clone: `make run` and `make test`.  Each does all its own set-up in .venv.

PYTHON ?= python3
VENV ?= .venv
PYTEST_FLAGS ?=
# So many tests at a time; auto: twice as many as there are processors, as tests of processes mostly wait.  0: one by one.
WORKERS ?= auto
# [examples] is for tests/integration/test_documents.py and test_examples.py.
DEV_EXTRAS ?= dev,examples

bin := $(VENV)/bin
pytest = $(bin)/python -m pytest -n $(WORKERS) $(PYTEST_FLAGS)
packaging := pyproject.toml forkworker/version.py

# Stamps: an environment is set up again only when what it is made of has changed.
made := $(VENV)/.made
run_ready := $(VENV)/.ready-run
dev_ready := $(VENV)/.ready-dev

# Without a Redis on PATH the tests run on the server of the extra [embedded].
ifeq ($(shell command -v redis-server),)
export FORKWORKER_TEST_REDIS ?= embedded
endif

# Without byte code every process of the tests would compile anew what it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: $(run_ready)  ## the quickstart: real jobs on real children, one of them killed; needs no Redis
	$(bin)/forkworker quickstart

.PHONY: test
test: $(dev_ready)  ## the whole suite
	$(pytest)

.PHONY: test-unit test-store test-integration test-sidekiq test-systemd
test-unit: $(dev_ready)  ## pure tests: no Redis, no processes
	$(pytest) tests/unit
test-store: $(dev_ready)  ## the scripts, on a real Redis
	$(pytest) tests/store
test-integration: $(dev_ready)  ## real trees of processes
	$(pytest) tests/integration
test-sidekiq: $(dev_ready)  ## Ruby's Sidekiq beside us: its Web UI, its worker, its client
	$(pytest) tests/sidekiq
test-systemd: $(dev_ready)  ## services on a real systemd, in a container; as root
	$(pytest) tests/systemd

SECONDS ?= 180
SEED ?=
REPORT ?=
REPORTS ?=
.PHONY: faults faults-report faults-bugs faults-storm faults-outage failovers
faults: $(dev_ready)  ## the fault harness: SECONDS= of storm, SEED= to repeat a run, REPORT= a file for its figures
	PYTHONPATH=tests $(bin)/python -m faults --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(if $(REPORT),--report $(REPORT))
faults-report: $(dev_ready)  ## one table of several runs: REPORTS= their files
	PYTHONPATH=tests $(bin)/python -m faults.report $(REPORTS)
faults-bugs: $(dev_ready)  ## the harness against planted bugs: each must be caught (an hour)
	PYTHONPATH=tests $(bin)/python -m faults.bugs
faults-storm: $(dev_ready)  ## a thousand children killed under full load
	PYTHONPATH=tests $(bin)/python -m faults.storm
faults-outage: $(dev_ready)  ## Redis away for ten leases, with jobs running on two hosts
	PYTHONPATH=tests $(bin)/python -m faults.outage
FAILOVERS ?= 60
MIN_REPLICAS ?= 1
WAIT ?= 1
KIND ?=
failovers: $(dev_ready)  ## FAILOVERS= of a Sentinel group under load; MIN_REPLICAS= for the servers, WAIT= for pushes
	PYTHONPATH=tests $(bin)/python -m faults.failovers --count $(FAILOVERS) --min-replicas $(MIN_REPLICAS) \
	  --wait $(WAIT) $(if $(SEED),--seed $(SEED)) $(if $(KIND),--kind "$(KIND)")

.PHONY: bench bench-quick
bench: $(dev_ready)  ## all benchmarks, the peers beside us, three rounds (an hour); installs the peers in .bench/
	PYTHONPATH=tests $(bin)/python -m bench all
bench-quick: $(dev_ready)  ## throughput, latency, enqueueing, beside four peers, one round (2 minutes once the peers are installed)
	PYTHONPATH=tests $(bin)/python -m bench quick

SEQUENCES ?= 200
FIRST ?= 0
RESTARTS ?= 20
.PHONY: signals rolling leaks sharing counting scale endurance
signals: $(dev_ready)  ## SEQUENCES= random sequences of signals and commands, from number FIRST= on
	FORKWORKER_TEST_SEQUENCES=$(SEQUENCES) FORKWORKER_TEST_FIRST_SEQUENCE=$(FIRST) \
	  $(bin)/python -m pytest $(PYTEST_FLAGS) tests/integration/test_supervision.py -k random_sequence
rolling: $(dev_ready)  ## RESTARTS= rolling restarts in a row under load, each onto other code
	PYTHONPATH=tests $(bin)/python -m trials.rolling --restarts $(RESTARTS)
leaks: $(dev_ready)  ## jobs that leak, with max_memory and without: sizes, and jobs a second
	PYTHONPATH=tests $(bin)/python -m trials.leaks
sharing: $(dev_ready)  ## what children of a large app cost in memory, at the start and after many jobs
	PYTHONPATH=tests $(bin)/python -m trials.sharing
counting: $(dev_ready)  ## what counting jobs by name costs, beside not counting them
	PYTHONPATH=tests $(bin)/python -m trials.counting
scale: $(dev_ready)  ## what each command costs with seven million jobs in Redis, in ms and MB (4 GB of memory)
	FORKWORKER_SCALE=1000000 $(bin)/python -m pytest -s $(PYTEST_FLAGS) tests/integration/test_scale.py
endurance: $(dev_ready)  ## a hundred thousand jobs, half of which fail: whether memory, descriptors, threads, keys or connections grow
	PYTHONPATH=tests $(bin)/python -m trials.endurance

EXAMPLES ?= 10000
.PHONY: fuzz
fuzz: $(dev_ready)  ## hostile input: EXAMPLES= payloads, names, messages, configurations, others (hours)
	FORKWORKER_FUZZ=$(EXAMPLES) $(pytest) --timeout 0 tests/fuzz

.PHONY: lint format types layers
lint: $(dev_ready)  ## ruff: rules and format
	$(bin)/ruff check .
	$(bin)/ruff format --check .
format: $(dev_ready)  ## ruff: put the code into its format
	$(bin)/ruff check --fix .
	$(bin)/ruff format .
types: $(dev_ready)  ## mypy, strict
	$(bin)/mypy
layers: $(dev_ready)  ## import-linter: who may import whom
	$(bin)/lint-imports

.PHONY: check
check: lint types layers test  ## exactly what CI runs on the main Python

.PHONY: clean
clean:  ## remove what these commands have made
	rm -rf $(VENV) .bench build dist *.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp and not bin/python: where the machine lacks ensurepip, that file is there and the environment is not usable.
$(made):
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(run_ready): $(made) $(packaging)
	$(bin)/python -m pip install -q --disable-pip-version-check -e '.[embedded]'
	@touch $@

$(dev_ready): $(made) $(packaging)
	$(bin)/python -m pip install -q --disable-pip-version-check -e '.[$(DEV_EXTRAS)]'
	@touch $@

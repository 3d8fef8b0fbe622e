# make demo   first picture: creates .venv, installs, segments a rendered scene (no network beyond the packages)
# make quick  what to run while one writes: lint, and tests of every room in under a minute (CONTRIBUTING.md)
# make test   the whole test suite
# make docs   the documentation as a site in `site/`, with a gallery of scenes that it renders
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow"

# A test of every room that says much in little time; `make quick QUICK=tests/geo` runs others.
QUICK ?= tests/test_architecture.py tests/test_packaging.py tests/test_errors.py tests/test_presets.py tests/test_types.py \
	tests/test_docs_figures.py tests/files/test_atomic.py tests/files/test_output_sets.py tests/files/test_ownership.py \
	tests/text/test_vocabulary.py tests/text/test_glossary.py tests/text/test_known_words.py tests/geo/test_bands.py \
	tests/geo/test_stretch.py tests/geo/grids/test_tiling.py tests/geo/grids/test_footprints.py tests/jobs/test_journal.py \
	tests/viz tests/kernels/test_kernels.py tests/models/upsamplers tests/data/captions/test_box_to_caption.py \
	tests/data/classification tests/parity tests/inference/windows/test_blocks.py tests/inference/windows/test_text_bank.py \
	tests/training/test_losses.py tests/archive/test_nearest.py tests/evaluation/metrics tests/tasks/test_segment_refusals.py

.PHONY: demo quick test test-slow test-qgis test-triton minimum coverage web qgis docs lint bench clean

$(VENV)/.core: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

demo: $(VENV)/.core
	$(BIN)/earthwords demo --overwrite

quick: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(PYTEST) -q $(QUICK)

test: $(VENV)/.dev
	$(PYTEST)

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow

# The plugin in a QGIS without a window; as root on Debian it installs QGIS first (140 MB)
test-qgis: $(VENV)/.dev
	tools/apt-test-packages.sh qgis python3-qgis
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow or not slow" tests/qgis

# Triton's kernels on a CPU, in its interpreter (with a GPU: TRITON_INTERPRET=0)
test-triton: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet "triton>=3.2"
	TRITON_INTERPRET=$${TRITON_INTERPRET:-1} OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/kernels/test_triton.py

# The quick tests with the lowest versions that pyproject.toml allows, on Python 3.11.
minimum:
	$(PYTHON) -m venv $(VENV)-minimum
	$(VENV)-minimum/bin/python -m pip install --quiet --constraint constraints/minimum.txt --editable ".[dev]"
	OMP_NUM_THREADS=1 $(VENV)-minimum/bin/python -m pytest -q -n 2 -m "not slow" $(QUICK)

# Which lines the tests run; `make coverage TESTS=tests/geo` of some of them.
coverage: $(VENV)/.dev
	$(PYTEST) -q --cov --cov-report=term $(TESTS)

# The page of `earthwords serve` from web/ into the package; needs Node 20. The bundle is committed, so users need none.
web:
	cd web && npm ci --ignore-scripts --no-audit --no-fund && npm run --silent build

# The plugin for QGIS (docs/qgis.md), the same bytes from the same sources; needs nothing but Python.
qgis:
	$(PYTHON) qgis/build.py dist/earthwords_qgis.zip

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# DATA: folder of held-out images (docs/models/tiny.md); without it only what needs none runs.
bench: $(VENV)/.dev
	$(BIN)/python benchmarks/bench_startup.py
	$(BIN)/python benchmarks/bench_windows.py
	$(BIN)/python benchmarks/bench_kernels.py
	$(BIN)/python benchmarks/bench_presets.py
	$(BIN)/python benchmarks/bench_segment.py
	$(BIN)/python benchmarks/bench_anyup.py
	$(BIN)/python benchmarks/bench_memory.py --side 4096
	$(BIN)/python benchmarks/bench_refer.py
	if [ -n "$(DATA)" ]; then $(BIN)/python benchmarks/bench_tiny.py "$(DATA)"; fi
	if [ -n "$(DATA)" ]; then $(BIN)/python benchmarks/bench_upsamplers.py "$(DATA)"; fi
	if [ -n "$(DATA)" ]; then $(BIN)/python benchmarks/bench_uses.py "$(DATA)"; fi

clean:
	rm -rf $(VENV) $(VENV)-minimum earthwords-demo site .coverage .pytest_cache .mypy_cache .ruff_cache

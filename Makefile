# make demo   first picture: creates .venv, installs, segments a rendered scene (no network beyond the packages)
# make test   the whole test suite
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow test-triton lint bench clean

$(VENV)/.core: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

demo: $(VENV)/.core
	$(BIN)/earthwords demo --overwrite

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow

# Triton's kernels on a CPU, in its interpreter (with a GPU: TRITON_INTERPRET=0)
test-triton: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet "triton>=3.2"
	TRITON_INTERPRET=$${TRITON_INTERPRET:-1} OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/kernels/test_triton.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

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
	rm -rf $(VENV) earthwords-demo .pytest_cache .mypy_cache .ruff_cache

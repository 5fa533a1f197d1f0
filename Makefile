# The two commands of the README, `make demo` and `make test`, do all the set-up themselves.

VENV  ?= .venv
BIN   := $(VENV)/bin
STAMP := build/stamps
JOBS  ?= $(shell nproc)
TEST_PROCESSES ?= 2
TEST_THREADS ?= 1
ISA ?= baseline,machine
BENCHES ?= density matrix gradient xc geometry two_center
BENCH_STRUCTURE ?= python/mlh/data/structures/asio2_96_a.xyz

CPP_SOURCES := $(shell find cpp -name '*.cpp' -o -name '*.hpp' -o -name CMakeLists.txt -o -name '*.cmake' \
  -o -name '*.map') CMakeLists.txt
PY_SOURCES  := $(shell find python -name '*.py' -o -name '*.pyi' -o -name py.typed -o -name '*.json' -o -name '*.j2' \
  -o -name '*.toml' -o -name '*.bib')
export CMAKE_BUILD_PARALLEL_LEVEL := $(JOBS)
export MLH_VENV := $(VENV)

.PHONY: demo test setup install build asan tidy bench bench-python docs wheel format lint clean notebooks

demo: $(STAMP)/install
	$(BIN)/mlh demo

test: $(STAMP)/install
	ctest --test-dir build/wheel --output-on-failure
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	OMP_NUM_THREADS=$(TEST_THREADS) $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile

setup: $(STAMP)/setup
install: $(STAMP)/install

$(STAMP)/setup: scripts/setup.sh
	bash scripts/setup.sh
	@mkdir -p $(STAMP) && touch $@

# The package as a user installs it, but with two of the instruction sets only; the same build directory holds the C++
# tests. ISA=: with all.
$(STAMP)/install: $(STAMP)/setup pyproject.toml $(CPP_SOURCES) $(PY_SOURCES)
	$(BIN)/python -m pip -qq --disable-pip-version-check install --no-build-isolation \
	  --config-settings=build-dir=build/wheel --config-settings=cmake.define.MLH_TESTS=ON \
	  --config-settings=cmake.define.MLH_WERROR=ON --config-settings=cmake.define.MLH_ISA="$(ISA)" '.[test]'
	@touch $@

# Developer's loop: the extension goes to python/mlh, run with PYTHONPATH=python.
build: $(STAMP)/setup
	cmake --preset dev -DPython_EXECUTABLE=$(abspath $(BIN)/python) >/dev/null
	cmake --build --preset dev --parallel $(JOBS)

asan: $(STAMP)/setup
	cmake --preset asan >/dev/null
	cmake --build --preset asan --parallel $(JOBS)
	ctest --preset asan

tidy: $(STAMP)/setup
	cmake --preset tidy >/dev/null
	cmake --build --preset tidy --parallel $(JOBS)

bench: $(STAMP)/setup
	cmake --preset release >/dev/null
	cmake --build --preset release --parallel $(JOBS)
	for case in $(BENCHES); do build/release/bench/bench_$$case $(BENCH_STRUCTURE) || exit 1; done

bench-python: $(STAMP)/install
	for case in scf_step single_point; do \
	  OPENBLAS_NUM_THREADS=1 $(BIN)/python bench/python/bench_$$case.py || exit 1; done

# The site, in build/site. Search needs a server: .venv/bin/python -m http.server -d build/site
docs: $(STAMP)/install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "docs: build/site/index.html"

# sdist and wheels in dist/; WHEEL_PYTHONS="python3.11 python3.12 python3.13": one for each.
wheel: $(STAMP)/setup
	bash scripts/wheel.sh $(WHEEL_PYTHONS)

# Executes them and keeps what they show (two minutes and more).
notebooks: $(STAMP)/install
	$(BIN)/python -c 'import nbclient, ipykernel' 2>/dev/null || $(BIN)/python -m pip -qq install nbclient ipykernel
	$(BIN)/python scripts/notebooks.py

format: $(STAMP)/install
	find cpp -name '*.cpp' -o -name '*.hpp' | xargs clang-format -i
	$(BIN)/ruff format python tests
	$(BIN)/ruff check --fix .

lint: $(STAMP)/install
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf build python/mlh/_core*.so

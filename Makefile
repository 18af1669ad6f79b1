# `make demo` and `make test` set everything up themselves; see README.md.
PYTHON ?= python3
VENV ?= .venv
# The tests run on the CPU; any torch from 2.9 works.
TORCH ?= torch==2.13.0
SOURCE ?= sample://
OUT ?= out
FRAMES ?= 150
ROUNDS ?= 50
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
# The tests build the plugin library themselves, for one architecture.
WITHOUT_PLUGINS := --config-settings=cmake.define.SPARSEVIT_PLUGINS=OFF
# For the Jetson build of the plugins, cross-compiled and loaded under qemu, an RTSP server to be lost and found, an MQTT
# broker, and kernels that are compiled once for all tests that build them.
APT_PACKAGES := g++-aarch64-linux-gnu qemu-user gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good \
  gstreamer1.0-plugins-bad python3-gi mosquitto ccache
TOOLS := aarch64-linux-gnu-g++ qemu-aarch64 ccache
RTSP_SERVER = $(wildcard /usr/lib/*/girepository-1.0/GstRtspServer-1.0.typelib)
BROKER = $(wildcard /usr/sbin/mosquitto)
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo -n)
# Several processes share each file's models. Three keep two cores busy, since one of them waits now and then; tests that
# depend on time wait most of it, and more than two disturb each other.
WORKERS ?= 3
TIMED_WORKERS ?= 2
# Whatever is collected is imported first, in each process.
TIMED_FILES = $(shell grep -rl --include='test_*.py' 'mark\.timed' tests)
SIDE_BY_SIDE := --dist loadfile --no-loadscope-reorder
# The commands of the environment; modules stay compiled, also where the machine is told not to keep them; and kernels do.
FOR_TESTS = export PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONDONTWRITEBYTECODE=; \
  if command -v ccache >/dev/null; then export CMAKE_CUDA_COMPILER_LAUNCHER=ccache CMAKE_CXX_COMPILER_LAUNCHER=ccache \
    CCACHE_NOHASHDIR=1 CCACHE_DIR="$(CURDIR)/build/ccache"; fi
PACKAGES := street runtime exporter training apps
# TensorRT's headers of 10.14, which kernel-lens brings.
PACKAGED_HEADERS = "$$($(BIN)/python -c 'import importlib.util as u; print(u.find_spec("kernel_lens").submodule_search_locations[0])')/include/tensorrt"
# The folders that `make headers` compiles against; the packaged ones unless any are named.
HEADERS ?= $(subst :, ,$(SPARSEVIT_TENSORRT_HEADERS))
HEADERS_BUILD := build/headers
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
.PHONY: help demo test check figures aarch64 headers clean

help:  ## list the targets
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9]+):.*## /  make \1\t/'

$(BIN)/python:
	@echo "== creating $(VENV)"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: $(BIN)/python pyproject.toml CMakeLists.txt
	@echo "== installing the runtime (no torch)"
	$(PIP) $(WITHOUT_PLUGINS) -e '.[cpu,video]'
	@touch $@

$(VENV)/.test: $(VENV)/.runtime
	@echo "== installing what the tests need: torch (CPU), transformers, TensorRT-RTX and TensorRT's headers, pytest"
	$(PIP) $(TORCH)
	$(PIP) $(WITHOUT_PLUGINS) -e '.[cpu,draw,plot,power,export,train,test]'
	$(PIP) 'tensorrt-rtx-cu13==1.7.1.*'
	$(PIP) --no-deps kernel-lens==2.0.1
	@command -v aarch64-linux-gnu-g++ qemu-aarch64 >/dev/null && [ -n "$(RTSP_SERVER)" ] && [ -n "$(BROKER)" ] || { \
	  echo "== installing $(APT_PACKAGES)"; \
	  { $(SUDO) apt-get -qq update && $(SUDO) apt-get -qq install -y $(APT_PACKAGES); } >/dev/null 2>&1 \
	  || echo "== no $(APT_PACKAGES) here: the tests of the Jetson build, of RTSP and of MQTT are skipped"; }
	@touch $@

demo: $(VENV)/.runtime  ## run the bundled model: annotated video, window activity, latency table (SOURCE=... takes anything)
	@mkdir -p '$(OUT)'
	$(BIN)/sparsevit run '$(SOURCE)' '$(OUT)/annotated.mp4' --sparsity 0.5 --frames $(FRAMES) --overwrite
	$(BIN)/sparsevit run '$(SOURCE)' '$(OUT)/activity.mp4' --sparsity 0.5 --activity --frames $(FRAMES) --overwrite
	$(BIN)/sparsevit profile --sweep 0,0.3,0.5,0.6,0.7 --iterations $(ROUNDS) --json '$(OUT)/latency.json' --overwrite
	@echo "== wrote $(OUT)/annotated.mp4, $(OUT)/activity.mp4 and $(OUT)/latency.json"

test: $(VENV)/.test  ## install what the tests need and run all of them
	@$(FOR_TESTS); failed=0; \
	$(BIN)/python -m pytest -n $(TIMED_WORKERS) $(SIDE_BY_SIDE) -m timed --durations=10 $(TIMED_FILES) || failed=1; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) $(SIDE_BY_SIDE) -m 'not timed' --durations=20 || failed=$$((failed + 1)); \
	[ $$failed = 0 ] || echo "== tests failed, see above"; \
	exit $$failed

check: $(VENV)/.test  ## the linter, the types and the quick tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@echo "== types, and the quick tests beside them"
	@$(FOR_TESTS); types=$$(mktemp); failed=0; \
	$(BIN)/mypy $(PACKAGES:%=-p sparsevit_%) -p sparsevit >"$$types" 2>&1 & mypy=$$!; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 $(SIDE_BY_SIDE) -m 'not slow and not timed' tests/test_architecture.py tests/exporter \
	  tests/plugins/kernels tests/runtime tests/street tests/training --ignore tests/runtime/tensorrt || failed=1; \
	wait $$mypy || failed=1; cat "$$types"; rm -f "$$types"; exit $$failed

figures: $(VENV)/.test  ## rewrite the README's tables from the measured files
	$(BIN)/python benchmarks/tables.py

aarch64: $(VENV)/.test  ## cross-compile the TensorRT plugins for Jetson and load them under qemu
	plugins/cross_aarch64.sh build/aarch64 $(PACKAGED_HEADERS)

headers:  ## compile the plugins against several TensorRT headers: make headers HEADERS="folder folder"
	plugins/check_headers.sh $(HEADERS_BUILD) $(or $(HEADERS),$(PACKAGED_HEADERS))

clean:  ## remove what the other targets made
	rm -rf $(VENV) $(OUT) build dist

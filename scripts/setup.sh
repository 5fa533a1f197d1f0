#!/usr/bin/env bash
# Everything that mlh needs before it can be built: system packages, a virtual environment, PyTorch.
# Safe to call again: what is there already is left alone.
set -euo pipefail
cd "$(dirname "$0")/.."

VENV="${MLH_VENV:-.venv}"
TORCH_VERSION=2.13.0
PACKAGES=()

need() { PACKAGES+=("$1"); }

command -v g++ >/dev/null || need g++
command -v cmake >/dev/null || need cmake
command -v ninja >/dev/null || need ninja-build
command -v pkg-config >/dev/null || need pkg-config
if command -v pkg-config >/dev/null; then
  pkg-config --exists 'libxc >= 5.1' || need libxc-dev
  pkg-config --exists eigen3 || need libeigen3-dev
else
  need libxc-dev
  need libeigen3-dev
fi
[ -e /usr/include/catch2/catch.hpp ] || need catch2

find_python() {
  for candidate in "${MLH_PYTHON:-}" python3 python3.13 python3.12 python3.11; do
    if [ -n "$candidate" ] && "$candidate" -c \
      'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
}
[ -x "$VENV/bin/python" ] || [ -n "$(find_python)" ] || need python3-venv

if [ ${#PACKAGES[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "setup: installing ${PACKAGES[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${PACKAGES[@]}" >/dev/null
  else
    echo "setup: these system packages are missing: ${PACKAGES[*]}" >&2
    echo "       on Debian or Ubuntu: sudo apt-get install ${PACKAGES[*]}" >&2
    exit 1
  fi
fi

if [ ! -x "$VENV/bin/python" ]; then
  PYTHON="$(find_python)"
  if [ -z "$PYTHON" ]; then
    echo "setup: no Python >= 3.11 with venv found; set MLH_PYTHON to one" >&2
    exit 1
  fi
  echo "setup: virtual environment $VENV with $($PYTHON --version)"
  "$PYTHON" -m venv "$VENV"
fi

PIP=("$VENV/bin/python" -m pip -qq --disable-pip-version-check)

# PyTorch first and pinned, so that no later requirement pulls another build. PyPI serves CUDA builds: where pip
# knows no other place, the CPU build comes from PyTorch's own index where that can be reached. MLH_TORCH_INDEX
# names another one.
torch_from() { "${PIP[@]}" install "torch==$TORCH_VERSION" "$@"; }
if ! "$VENV/bin/python" -c 'import torch' 2>/dev/null; then
  echo "setup: PyTorch $TORCH_VERSION (CPU)"
  if [ -n "${MLH_TORCH_INDEX:-}" ]; then
    torch_from --index-url "$MLH_TORCH_INDEX"
  elif "$VENV/bin/python" -m pip config list | grep -qE 'index-url|find-links'; then
    torch_from
  elif ! torch_from --retries 0 --index-url https://download.pytorch.org/whl/cpu 2>/dev/null; then
    echo "setup: PyTorch's own index cannot be reached, taking the build of pip's index"
    torch_from
  fi
fi
"${PIP[@]}" install 'scikit-build-core>=0.10' 'pybind11>=2.12'

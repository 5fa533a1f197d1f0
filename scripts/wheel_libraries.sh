#!/usr/bin/env bash
# Eigen and libxc from their sources, where a system has none or older ones (the manylinux images): cibuildwheel calls
# this once per image, pyproject.toml. Sources: Debian's archive keeps the releases unchanged, checked by their sums.
#
#   scripts/wheel_libraries.sh [PREFIX]      default /usr/local; MLH_SOURCES: a folder that has the archives already
set -euo pipefail

PREFIX="${1:-/usr/local}"
SOURCES="${MLH_SOURCES:-}"
POOL=https://deb.debian.org/debian/pool/main
WORK="$(mktemp -d)"
trap 'rm -rf "$WORK"' EXIT
cd "$WORK"

unpacked() { # FOLDER FILE SHA256 URL
  if [ -n "$SOURCES" ]; then cp "$SOURCES/$2" .; else curl -fsSL --retry 3 -o "$2" "$4/$2"; fi
  echo "$3  $2" | sha256sum --check --quiet
  mkdir "$1"
  tar -xf "$2" -C "$1" --strip-components=1
}

unpacked eigen eigen3_3.4.0.orig.tar.bz2 b4c198460eba6f28d34894e3a5710998818515104d6e74e5cc331ce31e46e626 "$POOL/e/eigen3"
cmake -S eigen -B eigen/b -DCMAKE_INSTALL_PREFIX="$PREFIX" -DBUILD_TESTING=OFF -DEIGEN_BUILD_DOC=OFF >/dev/null
cmake --install eigen/b >/dev/null

# A shared library: MPL-2.0, and its user may put another one in its place.
unpacked libxc libxc_5.2.3.orig.tar.gz 38b60ed552b46367175b370e1ad5409fcf45c49b71ed13706a65b485f06a5417 "$POOL/libx/libxc"
cmake -S libxc -B libxc/b -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX="$PREFIX" -DCMAKE_INSTALL_LIBDIR=lib \
  -DBUILD_SHARED_LIBS=ON -DBUILD_TESTING=OFF -DENABLE_FORTRAN=OFF -DENABLE_PYTHON=OFF >/dev/null
cmake --build libxc/b --parallel "$(nproc)"
cmake --install libxc/b >/dev/null
ldconfig 2>/dev/null || true

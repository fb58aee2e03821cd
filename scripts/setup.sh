#!/usr/bin/env bash
# Installs what building moeclip needs: Debian packages through apt-get, and oneDNN 3 (not in Debian 12) from its
# makers' wheels into .deps/onednn. Does only what is missing; run it again at any time.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/setup.sh [--with-tests] [--force]

  --with-tests  also install what the sanitizer and fuzz presets and the tests' scripts need
                (clang, clang-tidy, llvm, its run-time libraries, g++, python3-venv and python3-dev, groff, zsh, fish, Chromium and its
                driver, Open MPI, curl, wrk, valgrind; the packages of tests/requirements.txt into .deps/tests-venv), and PyTorch's CPU
                build into .deps/venv (190 MB to fetch, 0.9 GB unpacked) for tests/torch; where pip's indexes have none, those
                tests are skipped
  --force       fetch oneDNN again even where .deps/onednn is complete

Nothing is downloaded when everything is there. Details go to .deps/setup.log.
TEXT
}

with_tests=no
force=no
for argument in "$@"; do
  case $argument in
    --with-tests) with_tests=yes ;;
    --force) force=yes ;;
    -h | --help) usage; exit 0 ;;
    *) echo "setup.sh: unknown option '$argument'; --help lists the options" >&2; exit 2 ;;
  esac
done

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
deps=$root/.deps
log=$deps/setup.log
scratch=
mkdir -p "$deps"
: >"$log"
trap '[ -z "$scratch" ] || rm -rf "$scratch"' EXIT

say() { echo "setup: $*"; }

fail() {
  echo "setup.sh: $*" >&2
  if [ -s "$log" ]; then
    echo "the last lines of $log:" >&2
    tail -n 8 "$log" | sed 's/^/  /' >&2
  fi
  exit 1
}

# --- system packages -------------------------------------------------------------------------------------------------

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "installing packages needs root: run as root or install sudo; missing: $*"
  fi
}

apt_install() {
  say "installing $*"
  if ! command -v apt-get >/dev/null; then
    fail "there is no apt-get here; install the counterparts of these Debian packages by hand: $*"
  fi
  if [ "${lists_fresh:-no}" = no ]; then
    as_root apt-get update -qq >>"$log" 2>&1 || say "apt-get update failed; trying with the lists there are"
    lists_fresh=yes
  fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >>"$log" 2>&1 ||
    fail "apt-get could not install: $*"
}

has_compiler() {
  command -v gcc >/dev/null || return 1
  echo '#include <stdlib.h>' | gcc -E -x c - >/dev/null 2>&1
}

has_cmake() {
  local version
  version=$(cmake --version 2>/dev/null | sed -n '1s/.* version //p') || return 1
  [ -n "$version" ] && [ "$(printf '%s\n' 3.22 "$version" | sort -V | head -n 1)" = 3.22 ]
}

missing=()
has_compiler || missing+=(gcc libc6-dev)
has_cmake || missing+=(cmake)
ninja --version >/dev/null 2>&1 || missing+=(ninja-build)
python3 -c '' >/dev/null 2>&1 || missing+=(python3)
pkg-config --version >/dev/null 2>&1 || missing+=(pkg-config)
for pair in zlib=zlib1g-dev libjpeg=libjpeg62-turbo-dev libpng=libpng-dev libwebp=libwebp-dev \
  libutf8proc=libutf8proc-dev libzip=libzip-dev jansson=libjansson-dev matio=libmatio-dev \
  libmicrohttpd=libmicrohttpd-dev sqlite3=libsqlite3-dev; do
  pkg-config --exists "${pair%%=*}" 2>/dev/null || missing+=("${pair#*=}")
done
[ ${#missing[@]} -eq 0 ] || apt_install "${missing[@]}"

if [ "$with_tests" = yes ]; then
  missing=()
  command -v clang >/dev/null || missing+=(clang)
  command -v llvm-cov >/dev/null || missing+=(llvm)
  python3 -c 'import venv, ensurepip' >/dev/null 2>&1 || missing+=(python3-venv)
  python3 -c 'import os, sysconfig; os.stat(sysconfig.get_paths()["include"] + "/Python.h")' >/dev/null 2>&1 ||
    missing+=(python3-dev)
  for pair in chromium=chromium chromedriver=chromium-driver mpirun=openmpi-bin mpicc=libopenmpi-dev curl=curl \
    g++=g++ groff=groff-base clang-tidy=clang-tidy zsh=zsh fish=fish wrk=wrk valgrind=valgrind; do
    command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} -eq 0 ] || apt_install "${missing[@]}"
  # clang's sanitizers, libFuzzer and OpenMP come in packages of their own, named after clang's version.
  version=$(clang -dumpversion | cut -d. -f1)
  missing=()
  for pair in -fsanitize=address,fuzzer=libclang-rt-$version-dev -fopenmp=libomp-$version-dev; do
    option=${pair%=*}
    # The fuzzer's library brings main; with -fopenmp the program is its own.
    program='int main(void) { return 0; }'
    [ "$option" = -fopenmp ] && program="#include <omp.h>
$program"
    [ "$option" = -fopenmp ] ||
      program='int LLVMFuzzerTestOneInput(const char *data, long size) { return !data && size; }'
    echo "$program" | clang "$option" -x c -o "$deps/.probe" - >>"$log" 2>&1 || missing+=("${pair##*=}")
    rm -f "$deps/.probe"
  done
  [ ${#missing[@]} -eq 0 ] || apt_install "${missing[@]}"
fi

# --- oneDNN ----------------------------------------------------------------------------------------------------------

onednn_version=2023.2.0
declare -A digests=(
  [onednn-cpu-gomp]=2f22a54d6a890ed14bfa185d42a4be65d8b5b1df85dc1f0f3a9abe31620416fb
  [onednn-devel-cpu-gomp]=9763c69e8c907e119056bd52ad918ca84ac9ba939d130a99dfa95ccca3e5e284
)
own_library="install a system oneDNN (libdnnl and its headers) of version 3 or later, or build one from its source, \
and configure with -DDNNL_ROOT=FOLDER, the folder that has its include/ and lib/"

onednn_complete() {
  [ -f "$deps/onednn/include/oneapi/dnnl/dnnl.h" ] && [ -s "$deps/onednn/lib/libdnnl.so" ]
}

system_onednn() {
  echo '#include <oneapi/dnnl/dnnl_version.h>
#if DNNL_VERSION_MAJOR < 3
#error older than version 3
#endif
int main(void) { return 0; }' | gcc -x c -o /dev/null - -ldnnl >>"$log" 2>&1
}

download_wheel() {
  local name=$1 folder=$2 file
  python3 -m pip download -q --no-deps --only-binary :all: --disable-pip-version-check -d "$folder" \
    "$name==$onednn_version" >>"$log" 2>&1 ||
    fail "pip could not download $name==$onednn_version (no network, or no wheel for this machine); $own_library"
  file=$(find "$folder" -name "${name//-/_}-*.whl")
  echo "${digests[$name]}  $file" | sha256sum --check --status ||
    fail "$(basename "$file") is not the file that this script knows (its SHA-256 differs)"
}

fetch_onednn() {
  say "fetching oneDNN 3 (39 MB) into .deps/onednn"
  if ! python3 -m pip --version >/dev/null 2>&1; then
    apt_install python3-pip
  fi
  scratch=$(mktemp -d "$deps/onednn.XXXXXX")
  download_wheel onednn-cpu-gomp "$scratch"
  download_wheel onednn-devel-cpu-gomp "$scratch"
  python3 - "$scratch" >>"$log" 2>&1 <<'PYTHON' || fail "the wheels of oneDNN could not be unpacked"
import os, shutil, sys, zipfile
from pathlib import Path

scratch = Path(sys.argv[1])
target = scratch / "onednn"
for wheel in scratch.glob("*.whl"):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            inner = name.partition(".data/data/")[2]
            licence = inner.startswith("share/doc/") and inner.endswith(("LICENSE", "THIRD-PARTY-PROGRAMS"))
            if name.endswith("/") or not (inner.startswith("include/") or inner == "lib/libdnnl.so.3.2" or licence):
                continue
            path = target / inner
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, open(path, "wb") as out:
                shutil.copyfileobj(source, out)
os.chmod(target / "lib/libdnnl.so.3.2", 0o755)
os.symlink("libdnnl.so.3.2", target / "lib/libdnnl.so.3")
os.symlink("libdnnl.so.3", target / "lib/libdnnl.so")
assert (target / "include/oneapi/dnnl/dnnl.h").is_file()
PYTHON
  rm -rf "$deps/onednn"
  mv "$scratch/onednn" "$deps/onednn"
}

if [ "$force" = yes ] || ! onednn_complete; then
  if [ "$force" = no ] && system_onednn; then
    say "using the system's oneDNN"
  elif [ "$(uname -s)" = Linux ] && [ "$(uname -m)" = x86_64 ]; then
    fetch_onednn
  else
    fail "oneDNN's wheels are for Linux on x86-64, and this is $(uname -s) on $(uname -m); $own_library"
  fi
fi

# --- Python packages of the tests --------------------------------------------------------------------------------------

# tests/requirements.txt into .deps/tests-venv; made again when the file changes.
fetch_test_packages() {
  say "installing the tests' Python packages into .deps/tests-venv"
  rm -rf "$deps/tests-venv"
  python3 -m venv "$deps/tests-venv" >>"$log" 2>&1 &&
    "$deps/tests-venv/bin/python" -m pip install -q --disable-pip-version-check --no-input -r "$root/tests/requirements.txt" \
      >>"$log" 2>&1 || fail "pip could not install tests/requirements.txt"
  cp "$root/tests/requirements.txt" "$deps/tests-venv/requirements.txt"
}

if [ "$with_tests" = yes ]; then
  cmp -s "$root/tests/requirements.txt" "$deps/tests-venv/requirements.txt" || fetch_test_packages
fi

# --- PyTorch, for tests/torch alone ------------------------------------------------------------------------------------

# Only the CPU build, by its full version: PyPI's own wheel for this machine is CUDA's, which needs gigabytes more to be
# imported at all. Whatever goes wrong here costs those tests and nothing else.
torch_version=2.13.0+cpu
has_torch() { [ -x "$1" ] && "$1" -W ignore -c 'import torch' >/dev/null 2>&1; }

fetch_torch() {
  say "installing PyTorch $torch_version into .deps/venv (190 MB)"
  rm -rf "$deps/venv"
  if python3 -m venv "$deps/venv" >>"$log" 2>&1 &&
    timeout 900 "$deps/venv/bin/python" -m pip install -q --disable-pip-version-check --no-input --only-binary :all: \
      --no-cache-dir --retries 1 --timeout 30 "torch==$torch_version" >>"$log" 2>&1 &&
    has_torch "$deps/venv/bin/python"; then
    return
  fi
  rm -rf "$deps/venv"
  say "PyTorch $torch_version could not be installed ($log says why): tests/torch will be skipped. Where pip has an index \
with CPU builds (PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS), run this again; or set MOECLIP_PYTHON to a Python that has PyTorch"
}

if [ "$with_tests" = yes ]; then
  has_torch "${MOECLIP_PYTHON:-}" || has_torch "$deps/venv/bin/python" || has_torch "$(command -v python3)" || fetch_torch
fi

say "ready; build with: cmake --preset release && cmake --build build/release"

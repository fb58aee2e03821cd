#!/bin/sh
# Builds the Python package against an installed libmoeclip, installs it into a virtual environment of its own, removes what
# it was built from, and runs the tests beside this script. usage: run.sh CMAKE BUILD_FOLDER SOURCE_FOLDER PICTURES
cmake=$1 build=$2 source=$3 pictures=$4
tools=$source/.deps/tests-venv
if ! "$tools/bin/python" -c 'import cffi, mypy, numpy, PIL, pytest, scikit_build_core' 2>/dev/null; then
  echo "skipped: $tools lacks what this needs; scripts/setup.sh --with-tests makes it"
  exit 77 # ctest's sign for a skipped test
fi
if ! [ -f "$("$tools/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')/Python.h" ]; then
  echo "skipped: there is no Python.h for $tools/bin/python; scripts/setup.sh --with-tests installs it"
  exit 77
fi
T=$(mktemp -d) || exit 1
trap 'rm -rf "$T"' EXIT
fail() { # TEXT LOG
  echo "run.sh: $1" >&2
  tail -n 30 "$2" >&2
  exit 1
}
PATH=$tools/bin:$(dirname "$cmake"):$PATH
export PATH OMP_WAIT_POLICY=passive PYTHONDONTWRITEBYTECODE=1
unset PYTHONPATH PYTHONHOME

"$cmake" --install "$build" --prefix "$T/prefix" >"$T/log" 2>&1 || fail "cmake --install" "$T/log"
# scikit-build-core finds moeclip itself in the prefix, so that the library is not built again.
python -m pip wheel --no-build-isolation --no-deps --no-index --disable-pip-version-check -w "$T/wheel" \
  --config-settings=cmake.source-dir=python --config-settings=cmake.define.CMAKE_PREFIX_PATH="$T/prefix" \
  "$source" >"$T/log" 2>&1 || fail "pip wheel" "$T/log"
rm -rf "$T/prefix"

# Only what the package stands on comes from the tests' packages.
python -m venv --without-pip "$T/venv" >"$T/log" 2>&1 || fail "venv" "$T/log"
python -m pip --python "$T/venv/bin/python" install -q --no-index --no-deps --disable-pip-version-check "$T"/wheel/*.whl \
  >"$T/log" 2>&1 || fail "pip install" "$T/log"
packages=$("$T/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])' >"$packages/tests.pth"

# Everything that the loader resolves to a place of this project lies inside the package.
ldd "$packages"/moeclip/_native.abi3.so "$packages"/moeclip/lib/libmoeclip.so.0 >"$T/ldd"
grep -q "not found" "$T/ldd" && fail "a library is missing" "$T/ldd"
grep -qF "$source/" "$T/ldd" && fail "a library comes from the source tree" "$T/ldd"
grep -q "libmoeclip.so.0 => $packages/moeclip/lib/libmoeclip.so.0" "$T/ldd" || fail "libmoeclip is not the package's" "$T/ldd"

"$pictures" "$T/pictures" || exit 1
cd "$T" || exit 1
"$build/moeclip" pretrain --pairs pictures/colours/train --out clip.safetensors --image-size 16 --patch 8 --visual-layers 2 \
  --visual-width 64 --visual-hidden 64 --context 12 --vocabulary 600 --text-layers 2 --text-width 64 --text-hidden 64 \
  --embed 32 --epochs 30 --batch 6 --warmup 5 --threads 1 --quiet >"$T/log" 2>&1 || fail "pretrain" "$T/log"

# The package itself; then the tests, which see the package as whoever installs it does.
for checked in python/moeclip tests/python; do
  "$T/venv/bin/python" -m mypy --strict --config-file= --cache-dir="$build/mypy-cache" "$source/$checked" >"$T/log" 2>&1 ||
    fail "mypy $checked" "$T/log"
done
MOECLIP_PROGRAM=$build/moeclip MOECLIP_TEST_FOLDER=$T "$T/venv/bin/python" -m pytest -q -p no:cacheprovider \
  --rootdir "$source/tests/python" "$source/tests/python"

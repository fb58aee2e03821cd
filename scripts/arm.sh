#!/usr/bin/env bash
# Builds for 64-bit Arm on a Debian 12 machine of another kind, against Debian 13's libraries (whose oneDNN is 3.7), and runs the tests of
# arithmetic and the published numbers under qemu. Root; fetches some 200 MB into FOLDER once.
#
# usage: scripts/arm.sh [FOLDER]     default: .deps/arm
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(realpath -m "${1:-.deps/arm}")
sysroot=$folder/sysroot build=$folder/build libraries=$folder/sysroot/usr/lib/aarch64-linux-gnu

apt-get install -y -qq debootstrap qemu-user-static gcc-aarch64-linux-gnu ninja-build pkg-config > /dev/null
if [ ! -e "$sysroot/usr/include/oneapi/dnnl/dnnl.h" ]; then
  mkdir -p "$folder"
  # The first stage alone: nothing of it is run here, it only has to be compiled and linked against.
  debootstrap --foreign --arch=arm64 --variant=minbase --include=libdnnl-dev,libjpeg-dev,libpng-dev,libwebp-dev,libutf8proc-dev,\
libjansson-dev,libmatio-dev,libsqlite3-dev,libmicrohttpd-dev,libzip-dev,zlib1g-dev,libgomp1,libgcc-14-dev \
    trixie "$sysroot" http://deb.debian.org/debian > "$folder/debootstrap.log"
  for package in "$sysroot"/var/cache/apt/archives/*.deb; do dpkg -x "$package" "$sysroot"; done
fi
ln -sf hdf5-serial.pc "$libraries/pkgconfig/hdf5.pc"
cat > "$folder/toolchain.cmake" <<EOF
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_SYSROOT $sysroot)
set(CMAKE_FIND_ROOT_PATH $sysroot)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
# The compiler's own C library is older than the one that it will run with.
set(CMAKE_EXE_LINKER_FLAGS_INIT "-Wl,--allow-shlib-undefined")
set(CMAKE_SHARED_LINKER_FLAGS_INIT "-Wl,--allow-shlib-undefined")
EOF
export PKG_CONFIG_SYSROOT_DIR=$sysroot PKG_CONFIG_LIBDIR=$libraries/pkgconfig:$sysroot/usr/share/pkgconfig
cmake -S . -B "$build" -G Ninja -DCMAKE_TOOLCHAIN_FILE="$folder/toolchain.cmake" -DDNNL_ROOT="$sysroot/usr" \
  -DDNNL_INCLUDE="$sysroot/usr/include" -DMOECLIP_MPI=OFF -DMOECLIP_WERROR=ON > "$folder/cmake.log"
cmake --build "$build" --parallel --target unit_bfloat16 unit_compute golden moeclip_cli
arm() { qemu-aarch64-static -L "$sysroot" -E OMP_NUM_THREADS=2 -E OMP_WAIT_POLICY=passive "$@" 2>&1 | grep -v MIDR_EL1; }
arm "$build/moeclip" --version
for test in unit_compute unit_bfloat16 "golden tests/data/golden"; do
  echo "== $test"
  # shellcheck disable=SC2086
  arm "$build/tests/"$test | tail -n 1
done

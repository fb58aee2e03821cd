#!/bin/sh
# What `cmake --install` gives, from a folder that was moved afterwards: files, exported symbols, headers, manual pages,
# completions, and the examples built against it in four ways.
# usage: install.sh CMAKE BUILD_FOLDER SOURCE_FOLDER PICTURES CC
cmake=$1 build=$2 source=$3 pictures=$4 cc=$5
M=$build/moeclip
. "$source/tests/cli/tools/common.sh"
cd "$T" || exit 1
export CMAKE_GENERATOR=Ninja # what scripts/setup.sh brings: make need not be there

# --- installed and moved ----------------------------------------------------------------------------------------------
"$cmake" --install "$build" --prefix "$T/first" >log 2>&1 || { cat log; fail "cmake --install"; exit 1; }
grep -rl "$T/first" first | grep -v '\.a$' >named
[ -s named ] && fail "these name the folder that they were installed into: $(cat named)"
mv first moved
P=$T/moved
lib=$(dirname "$(find "$P" -name libmoeclip.a)")
M=$P/bin/moeclip
expect 0 "^moeclip $(sed -n 's/^#define MOECLIP_VERSION "\(.*\)"/\1/p' "$P/include/moeclip/version.h")$" --version
expect 0 '^libraries: oneDNN [0-9.]*, libjpeg-turbo [0-9.]*, ' --version
expect 0 '^processor: ' --version
expect 0 '^compiler: \(gcc\|clang\) [0-9.]*, ' --version
for file in include/moeclip/moeclip.h share/man/man1/moeclip.1 share/man/man1/moeclip-bench-mtil.1 \
  share/bash-completion/completions/moeclip share/zsh/site-functions/_moeclip \
  share/fish/vendor_completions.d/moeclip.fish; do
  [ -s "$P/$file" ] || fail "no $file"
done
[ "$(ls "$P/include/moeclip")" = "$(ls "$source/include/moeclip")" ] || fail "headers: $(ls "$P/include/moeclip")"
[ "$(readlink "$lib/libmoeclip.so")" = libmoeclip.so.0 ] || fail "libmoeclip.so is $(readlink "$lib/libmoeclip.so")"
# With oneDNN from DNNL_ROOT, the loader finds it beside the library, wherever that lies.
if [ -d "$lib/moeclip" ]; then
  ldd "$lib/libmoeclip.so" | grep -q "libdnnl.* => $lib/moeclip/libdnnl" ||
    fail "ldd: $(ldd "$lib/libmoeclip.so" | grep dnnl)"
fi

# --- the shared library exports what the headers declare, no more and no less -----------------------------------------
cat "$P"/include/moeclip/*.h | grep -v '^ *#' | tr '\n' ' ' | grep -o 'MOECLIP_API [^;(]*(' |
  sed 's/ *($//; s/.*[ *]//' | sort >declared
nm -D --defined-only "$lib/libmoeclip.so" | sed 's/.* //' | sort >exported
[ "$(wc -l <declared)" -gt 80 ] || fail "only $(wc -l <declared) functions were found in the headers"
cmp -s declared exported || fail "declared (<) and exported (>) differ: $(diff declared exported)"

# --- every header compiles alone --------------------------------------------------------------------------------------
for header in "$P"/include/moeclip/*.h; do
  echo "#include <moeclip/$(basename "$header")>" >alone.c
  for compiler in "gcc -std=c17 -x c" "g++ -std=c++17 -x c++" "clang -std=c17 -x c" "clang++ -std=c++17 -x c++"; do
    command -v "${compiler%% *}" >/dev/null || continue
    $compiler -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I"$P/include" alone.c 2>log ||
      fail "$compiler: $(basename "$header"): $(head -n 5 log)"
  done
done

# --- manual pages: of every command, with every option of its help, without a warning ---------------------------------
"$M" help --list >list
[ "$(wc -l <list)" -gt 5 ] || fail "help --list: $(cat list)"
while read -r command; do
  page=$P/share/man/man1/moeclip-$(echo "$command" | tr ' ' '-').1
  [ -s "$page" ] || { fail "no $page"; continue; }
  # shellcheck disable=SC2086 # "bench mtil" is two words
  "$M" help $command | sed -n 's/^  --\([a-z0-9-]*\).*/\1/p' >options
  [ -s options ] || fail "help $command has no options"
  while read -r option; do
    grep -qF "fB\\-\\-$(echo "$option" | sed 's/-/\\-/g')\\fR" "$page" || fail "$page: no --$option"
  done <options
done <list
if command -v groff >/dev/null; then
  for page in "$P"/share/man/man1/*; do
    groff -man -Tutf8 -ww -rLL=80n -z "$page" >log 2>&1
    [ -s log ] && fail "groff: $(head -n 3 log)"
  done
fi
if command -v mandoc >/dev/null; then
  mandoc -T lint -W warning "$P"/share/man/man1/* >log 2>&1
  grep -v 'missing date' log | grep -q . && fail "mandoc: $(head -n 3 log)"
fi

# --- completion -------------------------------------------------------------------------------------------------------
cat >complete.bash <<'BASH'
. "$1"
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_moeclip
echo "${COMPREPLY[*]}"
BASH
complete() { # EXPECTED WORD...
  expected=$1
  shift
  is=$(bash complete.bash "$P/share/bash-completion/completions/moeclip" "$@" 2>&1 | tr " " "\n" | sort | tr "\n" " ")
  is=${is% }
  [ "$is" = "$expected" ] || fail "bash completes \"$*\" with \"$is\", not \"$expected\""
}
complete "classify" moeclip cl
complete "cil compare mtil xtail" moeclip bench ""
complete "analytic auto finetune icarl joint linear-probe lwf moe wise-ft zero-shot zscl" moeclip learn --method ""
complete "finetune" moeclip learn --method = f
complete "--labels --labels-file" moeclip classify --la
complete "--increment" moeclip bench cil --inc
complete "" moeclip learn --lr ""
complete "moved/bin moved/include moved/lib moved/share" moeclip info moved/
complete "bash fish zsh" moeclip help --completion ""
complete "classify" moeclip help cl
if command -v zsh >/dev/null; then
  cat >complete.zsh <<'ZSH'
compdef() { }
_arguments() { print -rl -- "$CURRENT $words" "$@" }
_describe() { print -rl -- "$CURRENT $words" "${(P@)2}" }
source $1
shift
words=("$@") CURRENT=$#
_moeclip
ZSH
  zsh -f complete.zsh "$P/share/zsh/site-functions/_moeclip" moeclip learn --mo >out 2>&1
  grep -qx '2 learn --mo' out && grep -qF -e '--mode=[' out && grep -qF '(moe finetune analytic zero-shot linear-probe wise-ft lwf zscl icarl joint)' out ||
    fail "zsh, learn: $(cat out)"
  zsh -f complete.zsh "$P/share/zsh/site-functions/_moeclip" moeclip bench cil --inc >out 2>&1
  grep -qx '2 cil --inc' out && grep -qF -e '--increment=[' out || fail "zsh, bench cil: $(cat out)"
  zsh -f complete.zsh "$P/share/zsh/site-functions/_moeclip" moeclip cl >out 2>&1
  grep -q '^classify:' out || fail "zsh, commands: $(cat out)"
fi
if command -v fish >/dev/null; then
  for pair in "moeclip cl=classify" "moeclip bench ci=cil" "moeclip learn --mode fi=finetune" \
    "moeclip bench cil --incr=--increment" "moeclip help --completion z=zsh" "moeclip help cl=classify"; do
    HOME=$T fish -c "source $P/share/fish/vendor_completions.d/moeclip.fish; complete -C '${pair%=*}'" >out 2>&1
    [ "$(cut -f 1 out)" = "${pair##*=}" ] || fail "fish completes \"${pair%=*}\" with $(cat out)"
  done
fi

# --- the examples -----------------------------------------------------------------------------------------------------
"$pictures" "$T/pictures" || exit 1
export OMP_WAIT_POLICY=passive
"$M" pretrain --pairs pictures/colours/train --out clip.safetensors --image-size 16 --patch 8 --visual-layers 2 \
  --visual-width 64 --visual-hidden 64 --context 12 --vocabulary 600 --text-layers 2 --text-width 64 --text-hidden 64 \
  --embed 32 --epochs 30 --batch 6 --warmup 5 --threads 1 --quiet >log 2>&1 || fail "pretrain: $(cat log)"
PKG_CONFIG_PATH=$lib/pkgconfig
export PKG_CONFIG_PATH
[ "$(pkg-config --modversion moeclip)" = "$(sed -n 's/^#define MOECLIP_VERSION "\(.*\)"/\1/p' "$P/include/moeclip/version.h")" ] ||
  fail "moeclip.pc has version $(pkg-config --modversion moeclip)"

build_cmake() { # FOLDER OPTION
  { CC=$cc "$cmake" -B "$1" -DCMAKE_PREFIX_PATH="$P" "$2" "$source/examples" &&
    "$cmake" --build "$1"; } >log 2>&1 || { cat log; fail "$1: cmake"; }
}
build_plain() { # FOLDER PKG-CONFIG-OPTIONS...
  folder=$1
  shift
  # With both libraries side by side, the static one must be asked for (docs/INSTALL.md).
  library=
  [ "$1" = --static ] && library='s/-lmoeclip/-l:libmoeclip.a/'
  mkdir "$folder"
  for name in classify_file teach_domain search_folder; do
    # shellcheck disable=SC2046,SC2086 # lists of options
    $cc -std=c17 -D_DEFAULT_SOURCE -Wall -Wextra -Wpedantic -Werror "$source/examples/$name.c" \
      $(pkg-config --cflags moeclip) -o "$folder/$name" $(pkg-config "$@" moeclip | sed "$library") >log 2>&1 ||
        fail "$folder: $(cat log)"
  done
}
build_cmake cmake-shared -DMOECLIP_LINK_STATIC=OFF
build_cmake cmake-static -DMOECLIP_LINK_STATIC=ON
build_plain plain-shared --libs
build_plain plain-static --static --libs
ldd plain-static/classify_file | grep -q libmoeclip && fail "plain-static: $(ldd plain-static/classify_file | grep moeclip)"
ldd cmake-static/classify_file | grep -q libmoeclip && fail "cmake-static: $(ldd cmake-static/classify_file | grep moeclip)"
ldd cmake-shared/classify_file | grep -q "$lib/libmoeclip" ||
  fail "cmake-shared: $(ldd cmake-shared/classify_file | grep moeclip)"

# A version that is not this one, and what a static consumer lacks, are told.
mkdir other && echo 'cmake_minimum_required(VERSION 3.22)
project(other LANGUAGES C)
find_package(moeclip 9.0 CONFIG REQUIRED)' >other/CMakeLists.txt
"$cmake" -B other/build -DCMAKE_PREFIX_PATH="$P" other >log 2>&1 && fail "version 9.0 is found"
grep -q 'version: 0' log || fail "version 9.0: $(cat log)"
PKG_CONFIG_LIBDIR=$T/nowhere PKG_CONFIG_PATH= "$cmake" -B cmake-without -DCMAKE_PREFIX_PATH="$P" -DMOECLIP_LINK_STATIC=ON \
  "$source/examples" >log 2>&1 && fail "the static library is found without what it needs"
tr -s '\n ' '  ' <log | grep -q 'static library needs these through pkg-config' ||
  fail "static without packages: $(cat log)"

# Run: learning once, then all four builds say what the command line says.
export LD_LIBRARY_PATH="$lib"
run() { # PROGRAM ARGUMENTS...
  "$@" >out 2>err || fail "$*: $(cat err)"
}
run plain-shared/teach_domain clip.safetensors s.safetensors pictures/colours 60
grep -q '^learned colours as task 0: 61 steps' out || fail "teach_domain: $(cat out)"
grep -q '^[0-9]* of [1-9][0-9]* test pictures right$' out || fail "teach_domain: $(cat out)"
grep -q '^train: step 50 of 6[01]' err || fail "teach_domain tells no progress: $(cat err)"
run cmake-static/teach_domain clip.safetensors s.safetensors pictures/stripes 60
grep -q '^learned stripes as task 1' out || fail "teach_domain, second: $(cat out)"
picture=$(ls pictures/colours/test/red/*.png | head -n 1)
"$M" classify --model clip.safetensors --state s.safetensors "$picture" >said
sed -n 's/.*(task \([a-z]*\).*/answered by: \1/p; s/.*(zero-shot.*/answered by: the untouched CLIP/p' said >expected
sed 1d said | sed 's/^ *//' >>expected
"$M" classify --model clip.safetensors --labels "red,a green one" "$picture" | sed 1d | sed 's/^ *//' >expected-zero
for folder in cmake-shared cmake-static plain-shared plain-static; do
  run $folder/classify_file clip.safetensors s.safetensors "$picture"
  sed 's/^ *//' out >is
  cmp -s expected is || fail "$folder: $(diff expected is)"
  run $folder/classify_file clip.safetensors - "$picture" red "a green one"
  sed 1d out | sed 's/^ *//' | cmp -s expected-zero - || fail "$folder, zero-shot: $(cat out)"
  run $folder/search_folder clip.safetensors s.safetensors pictures/colours/test/red "a photo of a red."
  [ "$(wc -l <out)" -eq "$(ls pictures/colours/test/red | head -n 10 | wc -l)" ] || fail "$folder: search: $(cat out)"
  sort -snrk1,1 out | cmp -s out - || fail "$folder: search is not in order: $(cat out)"
done
for program in classify_file teach_domain search_folder; do
  cmake-shared/$program >out 2>err && fail "$program without arguments succeeds"
  grep -q "^usage: $program MODEL STATE" err || fail "$program: $(cat err)"
  cmake-shared/$program none.safetensors - x y >out 2>err && fail "$program without a model succeeds"
  grep -q "^$program: ..*" err && [ "$(wc -l <err)" -eq 1 ] || fail "$program: $(cat err)"
done
exit $failed

#!/bin/sh
# What goes wrong on one rank: nobody waits for it, and the message names it.
. "$(dirname "$0")/common.sh"
prepare
learn() {
  timeout 60 mpirun --allow-run-as-root --oversubscribe "$@"
  is=$?
  [ $is -ne 124 ] || fail "a run hangs: $*"
  return $is
}
how="learn $small --batch 7 --iterations 30 --selector-iterations 10 --no-eval"

# not a number, on the rank that meets it (a learning rate that throws the weights out of range does so on all of them)
learn -n 3 "$M" $how --state nan.safetensors --lr 1e30 pictures/colours >out 2>err && fail "learning rate 1e30"
grep -q '^moeclip: task colours, step [0-9]*, learning rate [0-9.e+]*: rank [0-9] (.*): .* not finite' err || fail "not finite: $(cat err)"
[ "$(grep -c 'not finite' err)" -eq 1 ] || fail "not finite: not said once: $(cat err)"
[ -e nan.safetensors ] && fail "not finite: there is a state"

# broken pictures are named once, by rank 0, and left out as one process would
cp -r pictures broken
for i in 1 4 9; do echo no picture >broken/colours/train/red/$i.png; done
for n in 1 3; do
  learn -n $n "$M" $how --state broken$n.safetensors broken/colours >out 2>err || fail "broken pictures, $n ranks: $(cat err)"
  grep 'left out' err | sort >left$n
  [ "$(wc -l <left$n)" -eq 6 ] || fail "broken pictures, $n ranks: $(cat err)"  # by the selector, and in training
  grep -q '3 pictures left out' out || fail "broken pictures, $n ranks: $(cat out)"
done
"$M" learn $small --batch 7 --iterations 1 --lr 1e-12 --selector-iterations 1 --selector-lr 1e-12 --no-eval --quiet \
  --state start.safetensors broken/colours >out 2>err || fail "start: $(cat err)"
same left1 left3
near broken1.safetensors broken3.safetensors start.safetensors 3e-3
for picture in broken/colours/train/*/*.png; do echo no picture >"$picture"; done
learn -n 3 "$M" $how --state none.safetensors broken/colours >out 2>err && fail "no picture can be read"
grep -q 'rank 0 (.*): none of the .* pictures can be read' err || fail "no picture can be read: $(cat err)"

# one rank that is short of memory, that cannot read the model, that sees other data, that was given other options
cat >odd.sh <<'S'
# the last rank is the odd one out
if [ "$OMPI_COMM_WORLD_RANK" = 2 ]; then eval "$ODD"; fi
exec "$@"
S
odd() { # WHAT PATTERN SETUP COMMAND...
  what=$1 pattern=$2
  export ODD="$3"
  shift 3
  learn -n 3 sh odd.sh "$@" >out 2>err && fail "$what: succeeds"
  grep -q "$pattern" err || fail "$what: no \"$pattern\": $(cat err)"
}
if [ -z "$MOECLIP_SANITIZE" ]; then
  odd "out of memory" 'rank 2 (.*): out of memory' 'ulimit -v $(($(awk "/VmSize/ {print \$2}" /proc/self/status) + 1600000))' \
    "$M" learn $small --batch 400000 --iterations 30 --selector-iterations 10 --no-eval --state m.safetensors pictures/colours
fi
odd "no model" 'rank 2 (.*): gone.safetensors: cannot open' 'set -- $(echo "$@" | sed s/clip.safetensors/gone.safetensors/)' \
  "$M" $how --state m.safetensors pictures/colours
odd "other data" 'rank 2 (.*): this rank has other training pictures, classes or options than rank 0' \
  'set -- $(echo "$@" | sed s,pictures/colours,colours=pictures/stripes,)' "$M" $how --state m.safetensors pictures/colours
odd "other options" 'rank 2 (.*): this rank has other training pictures, classes or options than rank 0' 'set -- "$@" --batch 8' \
  "$M" learn $small --iterations 30 --selector-iterations 10 --no-eval --state m.safetensors pictures/colours
odd "a rank that ends early" 'exit' 'exit 3' "$M" $how --state m.safetensors pictures/colours

# only rank 0 writes: a folder that cannot be written is its error
learn -n 2 "$M" $how --state no/such/folder/s.safetensors pictures/colours >out 2>err && fail "a folder that is not there"
grep -q 'rank 0 (.*): no/such/folder' err || fail "a folder that is not there: $(cat err)"
exit $failed

#!/bin/sh
# The command line as a user meets it: messages, exit codes, info and convert. usage: commands.sh MOECLIP DATA
M=$1 DATA=$2
. "$(dirname "$0")/tools/common.sh"

# A failure says one line on standard error; nothing of it goes to standard output.
refuse() {
  expect "$@"
  [ "$(wc -l <"$T/err")" -eq 1 ] || fail "moeclip $*: not one line: $(cat "$T/err")"
  grep -q '^moeclip: ' "$T/err" || fail "moeclip $*: $(cat "$T/err")"
}

same() { cmp -s "$1" "$2" || fail "$1 and $2 differ"; }

expect 0 '^moeclip [0-9]*\.[0-9]*\.[0-9]*$' --version
expect 0 'Commands:' --help
expect 0 'Commands:' help
for command in learn eval classify pretrain info convert prune data serve index search; do
  expect 0 "^Usage: moeclip $command" $command --help
  cp "$T/out" "$T/help"
  expect 0 "^Usage: moeclip $command" help $command
  same "$T/help" "$T/out"
  # Options that the help lists are known: without a value, or with one too many, it is the value that is wrong.
  for option in $(sed -n 's/^  --\([a-z0-9-]*\).*/\1/p' "$T/help"); do
    [ "$option" = help ] && continue
    "$M" $command --$option= >"$T/out" 2>"$T/err" && fail "$command --$option= is taken"
    grep -q "^moeclip: $command: --$option[: ]" "$T/err" || fail "$command --$option=: $(cat "$T/err")"
  done
done

expect 0 '^\.TH MOECLIP-LEARN 1 ' help --man learn
expect 0 '^\.TH MOECLIP-BENCH-CIL 1 ' help --man bench cil
expect 0 '^\.TH MOECLIP 1 ' help --man
expect 0 '^bench mtil$' help --list
expect 0 '^complete -o filenames -F _moeclip moeclip$' help --completion bash
refuse 2 'help --man takes one command' help --man lern
refuse 2 'help --man takes one command' help --man learn eval
refuse 2 'takes a shell: bash, zsh or fish' help --completion
refuse 2 'no completion for "ksh"' help --completion ksh
refuse 2 'help takes a command' help --foo
refuse 2 'help takes a command' help --list x
refuse 2 'unknown command "lern"; did you mean "learn"?' lern
refuse 2 'unknown option --foo' --foo
refuse 2 'did you mean --iterations?' learn --iteration 3 x
refuse 2 'batch: "12x" is not a whole number from 1 to 1048576' learn --batch 12x x
refuse 2 '"nan" is not a number from 0 to' learn --dropout nan x
refuse 2 'model is missing' learn --state s x
refuse 2 'state is missing' learn --model m x
refuse 2 'a DOMAIN is missing' learn --model m --state s
refuse 2 '3 learning rates for 2 domains' learn --model m --state s --lr 1,2,3 a b
refuse 2 'lr: "x" is not a number above 0' learn --model m --state s --lr 1,x a b
refuse 2 'exclude each other' learn --model m --state s --shots 5 --max-train 5 a
refuse 2 'candidates are needed' classify --model m x.jpg
refuse 2 'pairs is missing' pretrain --out x
refuse 2 'does not divide' pretrain --out x --pairs x --patch 7
refuse 2 'its own sizes' pretrain --out x --pairs x --init m --embed 3
refuse 2 'one argument too many' info a b
refuse 1 "$T/none: cannot open" info "$T/none"
refuse 1 "$T/none: cannot open" learn --model "$T/none" --state "$T/s" x
refuse 1 "$T/no/s.* cannot create" learn --model "$T/none" --state "$T/no/s" x
refuse 1 "$T/none: cannot open" eval --model "$T/none" x
refuse 1 "$T/none: cannot open" classify --model "$T/none" --labels a,b "$T"/none.jpg
refuse 1 "$T: no picture" classify --model "$T/none" --labels a,b "$T"
[ -z "$(ls "$T" | grep -v -e out -e err -e help)" ] || fail "left behind: $(ls "$T")"

# info
expect 0 'PyTorch zip checkpoint' info "$DATA/files/state_dict.pth"
expect 0 '^20 tensors: 11 F32' info "$DATA/files/legacy.pth"
expect 0 'before version 1.6' info "$DATA/files/legacy.pth"
expect 0 'TorchScript archive' info "$DATA/files/script.pt"
expect 0 ': safetensors$' info "$DATA/files/expected.safetensors"
expect 0 '^BF16 \[2, 3\] *bf16$' info --tensors "$DATA/files/state_dict.pth"
expect 0 '"container": "PyTorch zip checkpoint"' info "$DATA/files/state_dict.pth" --json
refuse 1 'complex.pth' info "$DATA/files/complex.pth"

# convert: there and back gives the same bytes
expect 0 '20 tensors, 0 of them' convert "$DATA/files/state_dict.pth" "$T/a.safetensors"
expect 0 '20 tensors' convert "$T/a.safetensors" "$T/a.pth"
expect 0 '20 tensors' convert "$T/a.pth" "$T/b.safetensors"
same "$T/a.safetensors" "$T/b.safetensors"
expect 0 '20 tensors' convert "$DATA/files/legacy.pth" "$T/c.safetensors"
same "$T/a.safetensors" "$T/c.safetensors"
# float16 fits in float32, so that there and back changes nothing once it is float16.
expect 0 '13 of them' convert "$T/a.safetensors" "$T/half.safetensors" --dtype f16
expect 0 '14 of them' convert "$T/half.safetensors" "$T/single.safetensors" --dtype f32
expect 0 '14 of them' convert "$T/single.safetensors" "$T/half2.safetensors" --dtype f16
same "$T/half.safetensors" "$T/half2.safetensors"
expect 0 '14 of them' convert --dtype bf16 "$T/single.safetensors" "$T/single.safetensors" # onto itself
expect 0 '14 BF16' info "$T/single.safetensors"
refuse 1 'its ending must say' convert "$T/a.safetensors" "$T/a.txt"
refuse 1 'holds no CLIP' convert "$T/a.safetensors" "$T/d.safetensors" --names openai
refuse 1 'cannot create' convert "$T/a.safetensors" "$T/no/d.safetensors"

# Output that cannot be written is no success.
if [ -w /dev/full ]; then
  "$M" info "$DATA/files/script.pt" >/dev/full 2>"$T/err" && fail "a full disk went unnoticed"
  grep -q 'standard output' "$T/err" || fail "a full disk: $(cat "$T/err")"
fi
exit $failed

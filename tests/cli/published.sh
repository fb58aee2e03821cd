#!/bin/sh
# convert --model: a state into a published checkpoint and back, without PyTorch (tests/torch has more, with it).
# usage: published.sh MOECLIP DATA PICTURES
M=$(realpath "$1") PICTURES=$3
. "$(dirname "$0")/tools/common.sh"

"$PICTURES" "$T/pictures" || exit 1
cd "$T" || exit 1
expect 0 'clip.safetensors' pretrain --pairs pictures/colours/train --out clip.safetensors --image-size 16 --patch 8 \
  --visual-layers 2 --visual-width 64 --visual-hidden 64 --context 12 --vocabulary 600 --text-layers 2 --text-width 64 \
  --text-hidden 64 --embed 32 --epochs 5 --batch 6 --warmup 5 --threads 1 --quiet
learn() {
  "$M" learn --model clip.safetensors --state "$@" --selector autoencoder --bottleneck 4 --selector-hidden 8 --selector-iterations 20 \
    --iterations 20 --batch 8 --threads 1 --quiet pictures/colours lines=pictures/stripes \
    >out 2>err || fail "learn: $(cat err)"
}
learn s.safetensors --experts 8 --reference pictures/spots --reference-iterations 20
evaluate() {
  "$M" eval --model "$1" --state "$2" --threads 1 --json --quiet pictures/colours lines=pictures/stripes 2>err |
    sed 's/"seconds":[^,}]*//; s/,"provenance":.*//' || fail "eval: $(cat err)"
}
evaluate clip.safetensors s.safetensors >before
grep -q accuracy before || fail "eval: $(cat before)"

expect 0 'a published checkpoint of 2 tasks' convert --model clip.safetensors s.safetensors X.pth \
  --autochooser X_autochooser.pth --tasks tasks.json
expect 0 '8 experts a block, bottleneck 4; 2 routers, of which 2 have learned' info X.pth
expect 0 '3 autoencoders (number 0 of the reference set' info X_autochooser.pth
expect 0 '"routers": 2' info X.pth --json
expect 0 '"kind":"state"' convert --json --model clip.safetensors --tasks tasks.json --autochooser X_autochooser.pth \
  X.pth back.safetensors
expect 0 '8 experts, 8 frozen' info back.safetensors
evaluate clip.safetensors back.safetensors >after
cmp before after || fail "the state from the checkpoint answers otherwise"
evaluate X.pth back.safetensors >after
cmp before after || fail "the checkpoint as a model answers otherwise"
# the plain conversion of a checkpoint or a state is what it was
expect 0 'tensors' convert X.pth plain.safetensors
expect 0 'tensors' convert s.safetensors plain.pth

# routers narrower than their block, and a selector without a reference set
learn narrow.safetensors --experts 4
expect 1 'narrow.safetensors: .*no reference set' convert --model clip.safetensors narrow.safetensors no.pth \
  --autochooser no_autochooser.pth
"$M" learn --model clip.safetensors --state narrow.safetensors --selector-iterations 10 --iterations 10 --batch 8 --threads 1 \
  --quiet pictures/colours lines=pictures/stripes more=pictures/spots >out 2>err || fail "learn: $(cat err)"
expect 1 'narrow.safetensors: .*experts were added' convert --model clip.safetensors narrow.safetensors no.pth

# what is asked for wrongly
expect 2 'X.pth is not a state.*--tasks FILE and --autochooser FILE' convert --model clip.safetensors X.pth no.safetensors
expect 2 'give --model FILE too' convert X.pth no.safetensors --tasks tasks.json
expect 2 'does not go with --model' convert --model clip.safetensors s.safetensors no.pth --names openai
expect 2 'must end in .pth' convert --model clip.safetensors s.safetensors no.safetensors
expect 1 'none.json' convert --model clip.safetensors --tasks none.json --autochooser X_autochooser.pth X.pth no.safetensors
echo '[{"name": "a", "classes": ["b"]},' >tasks.json
expect 1 'tasks.json: line 2' convert --model clip.safetensors --tasks tasks.json --autochooser X_autochooser.pth X.pth \
  no.safetensors
echo '[{"name": "a", "classes": ["b"], "prompts": []}]' >tasks.json
expect 1 '"prompts" is none of' convert --model clip.safetensors --tasks tasks.json --autochooser X_autochooser.pth X.pth \
  no.safetensors
ls no* >/dev/null 2>&1 && fail "files were written in spite of an error: $(ls no*)"
[ $failed -eq 0 ] && echo "published.sh: all passed"
exit $failed

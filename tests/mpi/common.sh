# For the scripts beside it: "$M" the program, "$COMPARE", "$STEP", a folder T of their own with pictures and a tiny CLIP, ranks N
# COMMAND..., fail. They are started with the program, the maker of pictures and the folder of the test programs, and end with
# `exit $failed`.
command -v mpirun >/dev/null || { echo "there is no mpirun"; exit 77; }
[ "$MOECLIP_WITH_MPI" = OFF ] && { echo "built without MPI"; exit 77; }
M=$(realpath "$1") PICTURES=$(realpath "$2") COMPARE=$(realpath "$3")/mpi_compare STEP=$(realpath "$3")/mpi_step
HERE=$(realpath "$(dirname "$0")")
T=$(mktemp -d) || exit 1
running=
trap '[ -n "$running" ] && kill -9 $running 2>/dev/null; rm -rf "$T"' EXIT
failed=0
cd "$T" || exit 1
if [ -n "$MOECLIP_SANITIZE" ]; then
  # Open MPI unloads its plug-ins before leaks are looked for, so that what they lost has no name to be passed over by: leaks are left
  # to the other tests, and all else is checked here.
  export ASAN_OPTIONS="detect_leaks=0:detect_odr_violation=0"
fi
# As on several machines; the default on one is MOECLIP_OVERLAP=0.
export MOECLIP_OVERLAP=1
# Ranks that wait give the processor away; one machine needs no network; nobody writes to a home.
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl=self,vader OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_rmaps_base_oversubscribe=1

fail() {
  echo "$(basename "$0"): $*" >&2
  failed=1
}

same() { cmp "$1" "$2" || fail "$1 and $2 differ"; }

ranks() {
  n=$1
  shift
  mpirun --allow-run-as-root --oversubscribe -n "$n" "$@"
}

# near A B START BOUND: compare's number
near() {
  is=$("$COMPARE" "$1" "$2" "$3") || { fail "$1 and $2 cannot be compared"; return; }
  echo "$1 and $2: $is"
  awk -v is="$is" -v most="$4" 'BEGIN { exit !(is <= most) }' || fail "$1 and $2 are $is apart, more than $4"
}

# A CLIP of two small blocks in each tower, and pictures.
prepare() {
  "$PICTURES" "$T/pictures" || exit 1
  sizes="--image-size 16 --patch 8 --visual-layers 2 --visual-width 64 --visual-hidden 64 --context 12 --vocabulary 600
         --text-layers 2 --text-width 64 --text-hidden 64 --embed 32"
  "$M" pretrain --pairs pictures/colours/train --out clip.safetensors $sizes --epochs 30 --batch 6 --warmup 5 --threads 1 \
    --quiet >out 2>err || { fail "pretrain: $(cat err)"; exit 1; }
  small="--model clip.safetensors --experts 6 --bottleneck 4 --selector-hidden 8 --threads 1"
}

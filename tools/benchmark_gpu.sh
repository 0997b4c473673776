#!/usr/bin/env bash
# What docs/performance.md says of a GPU, measured on one card in at most eight minutes.
#
#   bash tools/benchmark_gpu.sh OUT          # in an environment of `make env`
#   bash tools/benchmark_gpu.sh OUT WHEELS   # where PyTorch is installed and no index is reached:
#                                            # the rest comes from tools/fetch_gpu_wheels.sh WHEELS
#
# OUT gets rows.md, results.json and log.txt, anew after each cell. A cell is one command with a time
# limit, the most important first; one that fails leaves its rows open. CELLS="parity inference" runs
# these alone. PYTHON is the interpreter; the rest below can be set from outside too, for a quick trial
# on a CPU (tests/benchmark/test_gpu.py). SLOW is a factor of all limits.
set -uo pipefail

out=$(realpath -m "${1:?usage: bash tools/benchmark_gpu.sh OUT [WHEELS]}")
wheels=${2:+$(realpath "$2")}
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

: "${PYTHON:=python3}" "${SLOW:=1}" "${DEVICE:=cuda}" "${TURNS:=--rounds 5 --seconds 0.5}"
: "${CELLS:=parity inference training growth table6 lvt epoch compiled}"
: "${SIZE:=224}" "${BATCHES:=64 256}" "${DENSE:=800x1344}" "${SIDES:=512 1024 2048}"
: "${SHORT:=512x683}" "${EPOCH:=scalablevit-s}" "${JPEGS:=4096}" "${READING:=128}"
: "${FILES:=*}" "${COMPILED_FILES:=*small_anysize* lvt_anysize*}" "${COMPILED=,compiled}"
M=configs/detection/scalablevit/mask-rcnn_scalablevit-s_fpn_1x_coco.py
SEGFORMER=configs/segmentation/lvt/lvt_segformer_8xb2-160k_ade20k-512x512.py
PANOPTIC=configs/detection/lvt/panoptic-fpn_lvt_fpn_1x_coco.py
CORES=$(env -u OMP_NUM_THREADS nproc)

mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 PYTHONWARNINGS=ignore
export TORCHINDUCTOR_COMPILE_THREADS=${TORCHINDUCTOR_COMPILE_THREADS:-6}
unset PYTHONDONTWRITEBYTECODE # some twenty processes import the frameworks

say() { echo "[$SECONDS s] $*"; }

install() {
    local site=$work/site
    "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --target "$site" "$wheels"/*.whl || exit
    # mmcv-lite has no compiled operators, without which neither MMDetection nor MMSegmentation imports.
    cp mmscalablevit/benchmark/mmcv_ops.py "$site/mmcv/_ext.py"
    # MMPretrain's multimodal models don't import with transformers 5: it is told that there is none.
    mkdir "$site/transformers-0.dist-info"
    printf 'Metadata-Version: 2.1\nName: transformers\nVersion: 0\n' >"$site/transformers-0.dist-info/METADATA"
    "$PYTHON" -m compileall -q -j 0 "$site" >/dev/null
    PYTHONPATH=$site:$PYTHONPATH
    say "installed $(ls "$wheels" | wc -l) wheels"
}

# cell NAME SECONDS ARGUMENT...: run Python with the arguments, in what is left of the time.
cell() {
    local name=$1 limit=$(($2 * SLOW)) left=$((480 * SLOW - SECONDS))
    shift 2
    [[ " $CELLS " == *" $name "* ]] || return 0
    ((limit <= left)) || limit=$left
    if ((limit < 20)); then
        say "$name: no time is left"
        return
    fi
    say "$name, at most $limit s"
    printf '\n## %s\n\n`%s`\n\n' "$name" "$*" >>"$work/tables.md"
    echo "== $name: $*" >>"$out/log.txt"
    timeout -k 5 "$limit" "$PYTHON" "$@" >"$work/$name.txt" 2>>"$out/log.txt" ||
        say "$name: FAILED with $?, see log.txt"
    if [[ $name == parity ]]; then
        grep '^{.*}$' "$work/$name.txt" >"$work/cells/$name.json"
    else
        tee -a "$work/tables.md" <"$work/$name.txt"
    fi
    "$PYTHON" tools/gpu_rows.py "$work/cells" "$out/results.json" >"$work/rows.txt"
    { cat "$work/rows.txt" "$work/tables.md"; } >"$out/rows.md"
}

# bench NAME SECONDS ARGUMENT...: a cell of tools/benchmark.py, which leaves out what isn't ready.
bench() {
    local name=$1 limit=$2
    shift 2
    # shellcheck disable=SC2086
    cell "$name" "$limit" tools/benchmark.py "$@" $TURNS --device "$DEVICE" \
        --patience $((limit * SLOW * 7 / 10)) --out "$work/cells/$name.json"
}

mkdir "$work/cells"
: >"$out/log.txt"
[[ -z $wheels ]] || install
# shellcheck disable=SC2086,SC2046
{
    set -f
    cell parity 120 -m tests.parity --device "$DEVICE" --files $FILES --compiled $COMPILED_FILES \
        --processes $((CORES > 4 ? CORES - 4 : 1))
    bench inference 165 naive-s scalablevit-s swin-t \
        ${COMPILED:+scalablevit-s:compiled swin-t:compiled} \
        --dtype bfloat16 --size $SIZE --batch $BATCHES
    bench training 75 $M:naive,backbone $M:backbone $M:checkpointed,backbone \
        --training --dtype bfloat16 --size $DENSE --batch 2
    bench growth 50 scalablevit-s:backbone --dtype bfloat16 --size $SIDES --batch 1
    bench table6 60 --table 6 --size $SIZE --batch ${BATCHES%% *}
    # 45.5 and 20.4 images a second on a V100 (the paper's tables)
    bench lvt 60 $SEGFORMER:size=$SHORT $SEGFORMER:size=$SHORT,bfloat16 \
        $PANOPTIC:size=$DENSE $PANOPTIC:size=$DENSE,bfloat16 --batch 1
    bench epoch 90 $EPOCH $EPOCH:jpegs=$JPEGS $EPOCH:jpegs=$JPEGS,workers=$CORES \
        --training --dtype bfloat16 --size $SIZE --batch $READING
    bench compiled 120 $M:naive,backbone $M:backbone,compiled \
        --training --dtype bfloat16 --size $DENSE --batch 2
}
say "done: $out"
cat "$work/rows.txt"

#!/usr/bin/env bash
# Wheels for a GPU machine that has PyTorch and reaches no index: tools/benchmark_gpu.sh OUT FOLDER.
#
#   bash tools/fetch_gpu_wheels.sh FOLDER   # about 11 MB
#
# They are for Python 3.12 on Linux, x86-64. The frameworks' versions are those of
# requirements/upstream.txt, with mmcv-lite for mmcv, whose operators would have to be compiled.
set -euo pipefail

folder=$(realpath -m "${1:?usage: bash tools/fetch_gpu_wheels.sh FOLDER}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p "$folder"

# What they import, and PyTorch's usual company (numpy, OpenCV, matplotlib, scipy, ...) does not bring.
needed=(addict==2.4.0 importlib-metadata==8.7.0 mat4py==0.6.0 model-index==0.1.11
    ordered-set==4.1.0 prettytable==3.18.0 shapely==2.2.0 termcolor==3.3.0 terminaltables==3.1.10
    wcwidth==0.9.4 yapf==0.43.0)
mapfile -t frameworks < <(sed 's/#.*//; s/^mmcv==/mmcv-lite==/; s/ //g; /^$/d; /^regex/d' requirements/upstream.txt)
pycocotools=$(sed 's/#.*//; s/ //g' requirements/common.txt | grep '^pycocotools==')

platforms=()
for glibc in 2_28 2_27 2_24 2_17; do platforms+=(--platform "manylinux_$glibc"_x86_64); done
"${PYTHON:-python3}" -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 \
    --implementation cp "${platforms[@]}" --platform manylinux2014_x86_64 -d "$folder" \
    "${frameworks[@]}" "$pycocotools" "${needed[@]}"
du -sh "$folder"

#!/usr/bin/env bash
# Precisions on a GPU by ONNX Runtime's CUDA provider: accuracy of each graph, its latency, and the search for what pays.
#
#   gpu.sh SIGHTLINE LIBRARY DATA OUT
#
# LIBRARY is libonnxruntime.so of the wheel onnxruntime-gpu, beside its providers. DATA holds <name>_fp32.onnx,
# <name>_fp16.onnx and <name>_int8.onnx with their descriptions, `val` and `calibration` (`images`, `instances.json`).
# OUT gets the plans.
set -uo pipefail
program=$1 library=$2 data=$3 out=$4
backend=${BACKEND:-onnxruntime-cuda}
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
"$program" runtime install onnxruntime-gpu --path "$library" && "$program" runtime list
for fp32 in "$data"/*_fp32.onnx; do
  name=$(basename "$fp32" _fp32.onnx)
  for precision in fp32 fp16 int8; do
    model=$data/${name}_$precision.onnx
    echo "== $name $precision"
    "$program" eval "$model" --backend "$backend" --images "$data/val/images" \
      --annotations "$data/val/instances.json" --quiet | sed -n 2,3p
    "$program" bench "$model" --backend "$backend" --images "$data/val/images" --batch 1,8,32 --quiet | sed -n 1,5p
  done
  "$program" optimize "$fp32" --budget-map 0.005 --backend "$backend" --images "$data/val/images" \
    --annotations "$data/val/instances.json" --calibrate "$data/calibration/images" --out "$out/$name.onnx" --quiet
done

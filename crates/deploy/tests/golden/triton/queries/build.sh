#!/usr/bin/env bash
# Builds the TensorRT engines of this model repository on the machine that runs them, and puts the models in place.
#
#   bash build.sh                 what is not there yet
#   FORCE=1 bash build.sh         all of them again
#   PRECISION=fp16 bash build.sh  TensorRT up to 10; from 11 on the precision is the ONNX file's. Check the accuracy then.
#   TRTEXEC=/path/to/trtexec, WORKSPACE=MiB
#
# An engine runs on the kind of GPU and the TensorRT that built it: run this inside the server's container.
set -euo pipefail
cd "$(dirname "$0")"

trtexec=${TRTEXEC:-$(command -v trtexec || echo /usr/src/tensorrt/bin/trtexec)}
if [ ! -x "$trtexec" ]; then
    echo "there is no trtexec: run this in NVIDIA's TensorRT or Triton SDK container, or name it: TRTEXEC=/path/to/trtexec" >&2
    exit 30
fi
flags=()
case "${PRECISION:-fp32}" in
fp32) ;;
fp16) flags+=(--fp16) ;;
*)
    echo "PRECISION is fp32 or fp16" >&2
    exit 2
    ;;
esac

work=
trap 'if [ -n "$work" ]; then rm -rf "$work"; fi' EXIT

# build MODEL SOURCE SHAPES...: the engine of SOURCE's ONNX file as MODEL
build() {
    local model=$1 source=$2
    shift 2
    if [ -e "$model/1/model.plan" ] && [ -z "${FORCE:-}" ]; then
        echo "$model is there"
        return
    fi
    # Beside the repository: a server that runs must not see a half of a model.
    work=$(mktemp -d "../.$model-XXXXXX")
    mkdir -p "$work/model/1" "$work/model/configs"
    "$trtexec" --onnx="$source/1/model.onnx" --saveEngine="$work/model/1/model.plan" --skipInference \
        --memPoolSize=workspace:"${WORKSPACE:-4096}" "${flags[@]}" "$@"
    cp "$model.pbtxt" "$work/model/config.pbtxt"
    local tier
    for tier in latency balanced throughput; do
        if [ -e "$model.$tier.pbtxt" ]; then cp "$model.$tier.pbtxt" "$work/model/configs/$tier.pbtxt"; fi
    done
    cp "$source/labels.txt" "$work/model/labels.txt"
    chmod 755 "$work/model"
    if [ -e "$model" ]; then mv "$model" "$work/older"; fi
    mv "$work/model" "$model"
    rm -rf "$work"
    work=
    echo "$model is built"
}

# behind_dali SOURCE MODEL ENSEMBLE: the ensemble runs the engine
behind_dali() {
    if [ -e "$3/config.pbtxt" ]; then
        sed -i "s/model_name: \"$1\"/model_name: \"$2\"/" "$3/config.pbtxt"
    fi
}

build queries_trt queries \
    '--minShapes=pixels:1x3x48x64' \
    '--optShapes=pixels:4x3x48x64' \
    '--maxShapes=pixels:8x3x48x64'
build queries_trt_end2end queries_end2end \
    '--minShapes=pixels:1x3x48x64' \
    '--optShapes=pixels:4x3x48x64' \
    '--maxShapes=pixels:8x3x48x64'
behind_dali queries_end2end queries_trt_end2end queries_ensemble

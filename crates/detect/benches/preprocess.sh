#!/bin/sh
# Ours and the Python tools on the same picture, in one run: preprocess.sh [PYTHON with transformers]
set -eu
cd "$(dirname "$0")/.."
cargo bench --quiet --bench preprocess
"${1:-python3}" benches/preprocess.py

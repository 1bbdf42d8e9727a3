#!/usr/bin/env python3
"""Exports a full-size RT-DETRv2-R50 (43 M parameters, random weights) with this program and with Python, one after the
other on the same machine, and prints time and peak memory of both.

    compare_export.py ORACLE [--checkpoint DIR] [--runs 5]

ORACLE is a folder with `make_checkpoint.py` and `export_hf.py` (`torch.onnx.export` of transformers' model). Build first:
`cargo build --release -p models --example export`. Python's time is given twice: the export alone, and the whole process
(imports, loading and tracing included), which is what a person waits for.
"""
import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("oracle", type=Path)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        checkpoint = arguments.checkpoint or folder / "checkpoint"
        if not checkpoint.exists():
            make = [sys.executable, arguments.oracle / "make_checkpoint.py", "rt_detr_v2:r50vd", "--size", "full",
                    "--out", checkpoint, "--no-check"]
            subprocess.run(make, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        size = sum(file.stat().st_size for file in checkpoint.glob("*.safetensors"))

        ours, peaks, figures = [], [], ""
        binary = ROOT / "target" / "release" / "examples" / "export"
        for _ in range(arguments.runs):
            started = time.perf_counter()
            figures = subprocess.run([binary, checkpoint, folder / "ours.onnx"], check=True, capture_output=True,
                                     text=True).stdout
            ours.append(time.perf_counter() - started)
            peaks.append(int(re.search(r"peak memory (\d+) kB", figures)[1]) * 1024)

        command = [sys.executable, arguments.oracle / "export_hf.py", checkpoint, folder / "python.onnx",
                   "--exporter", "torchscript", "--opset", "17"]
        started = time.perf_counter()
        out = subprocess.run(command, check=True, capture_output=True, text=True,
                             env={**os.environ, "HF_HUB_OFFLINE": "1"}).stdout
        whole = time.perf_counter() - started
        python = json.loads(out.strip().splitlines()[-1])
        python_peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024

    median = statistics.median(ours)
    print(f"checkpoint   {size / 1e6:.1f} MB")
    print(f"this program {median:.2f} s (median of {len(ours)}, {min(ours):.2f}–{max(ours):.2f}), "
          f"peak {max(peaks) / 1e6:.0f} MB = {max(peaks) / size:.2f} × the checkpoint, {figures.split(' nodes')[0]} nodes")
    print(f"Python       {python['export_s']:.1f} s export, {whole:.1f} s whole process, "
          f"peak {python_peak / 1e6:.0f} MB, {python['nodes']} nodes")
    print(f"ratio        {python['export_s'] / median:.0f} × (export), {whole / median:.0f} × (whole process), "
          f"memory {python_peak / max(peaks):.1f} ×")


main()

#!/usr/bin/env python3
"""INT8 of a detector by this program, by ONNX Runtime and by ModelOpt, calibrated on the same tensors and scored by the
same pre- and post-processing.

    compare_int8.py SIGHTLINE MODEL FIXTURES [--work DIR] [--only REGEX] [--method mse] [--backend onnxruntime]

MODEL is an ONNX file with our description in its metadata (as `sightline export` writes it), FIXTURES a folder with
`calibration` and `val`, each with `images` and `instances.json`. Prints a row a graph: mAP, its loss against float32 and
the difference between ours (--method) and the peer, both with the 95 % interval of 2,000 paired resamples of the images.
Needs numpy, onnx, onnxruntime and pycocotools; rows of ModelOpt also `nvidia-modelopt[onnx]`. `sightline` needs ONNX
Runtime: `sightline runtime install onnxruntime`.
"""
import argparse
import contextlib
import logging
import re
import sys
import tempfile
import time
from pathlib import Path

import numpy
import onnx
from measure import Program, Scorer, change, described, eight_bit_share
from onnxruntime import quantization
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType
from onnxruntime.quantization.shape_inference import quant_pre_process

METHODS = ("mse", "minmax", "entropy", "percentile:99.99", "percentile:99.999")


class Reader(quantization.CalibrationDataReader):
    """The calibration tensors, one by one."""

    def __init__(self, name, tensors):
        self.name, self.tensors, self.at = name, tensors, 0

    def get_next(self):
        self.at += 1
        return {self.name: self.tensors[self.at - 1][None]} if self.at <= len(self.tensors) else None

    def rewind(self):
        self.at = 0


def onnx_runtime(source, out, tensors, method, only, symmetric):
    """`quantize_static`: Q/DQ, one scale a channel of the weights. `symmetric` is what TensorRT takes."""
    name = onnx.load(source).graph.input[0].name
    prepared = out.with_suffix(".prepared.onnx")
    try:
        quant_pre_process(str(source), str(prepared))
    except Exception:
        # Its symbolic shape inference does not get through every exported graph.
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    extra = {"ActivationSymmetric": symmetric, "WeightSymmetric": True}
    if method == "Percentile":
        extra["CalibPercentile"] = 99.999
    quantization.quantize_static(
        str(prepared), str(out), Reader(name, tensors), quant_format=QuantFormat.QDQ, per_channel=True,
        op_types_to_quantize=["Conv", "MatMul", "Gemm"] if only else None,
        activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8, weight_type=QuantType.QInt8,
        calibrate_method=getattr(CalibrationMethod, method), extra_options=extra)
    return out


def model_opt(source, out, tensors, method):
    """`modelopt.onnx.quantization.quantize` as it comes, its float layers left in float32."""
    from modelopt.onnx.quantization import quantize

    name = onnx.load(source).graph.input[0].name
    quantize(str(source), quantize_mode="int8", calibration_data={name: tensors}, calibration_method=method,
             calibration_eps=["cpu"], calibration_shapes=f"{name}:1x" + "x".join(map(str, tensors.shape[1:])),
             high_precision_dtype="fp32", output_path=str(out), log_level="ERROR")
    return out


def ours(program, source, out, calibration, method, count, backend):
    folder = out.with_suffix("")
    program.run("quantize", source, "--calibrate", calibration, "--count", count, "--method", method, "--out", folder,
                "--backend", backend)
    return next(folder.glob("*_int8.onnx"))


def makers(program, source, calibration, tensors, first, backend):
    """Name and function of every graph that is compared: `first`, a method of ours, first."""
    count = len(tensors)
    for method in [first, *(method for method in METHODS if method != first)]:
        yield f"ours, {method}", lambda out, m=method: ours(program, source, out, calibration, m, count, backend)
    for method in ("MinMax", "Entropy", "Percentile"):
        for only in (False, True):
            for symmetric in (True, False):
                name = (f"ONNX Runtime, {method.lower()}, {'Conv/MatMul/Gemm' if only else 'all operators'}, "
                        f"{'int8' if symmetric else 'uint8'}")
                yield name, lambda out, a=(method, only, symmetric): onnx_runtime(source, out, tensors, *a)
    for method in ("entropy", "max"):
        yield f"ModelOpt, {method}", lambda out, m=method: model_opt(source, out, tensors, m)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sightline")
    parser.add_argument("model", type=Path)
    parser.add_argument("fixtures", type=Path)
    parser.add_argument("--work", type=Path, help="folder that the graphs stay in")
    parser.add_argument("--only", default="", help="only rows in whose name this regular expression is found")
    parser.add_argument("--method", default="mse", help="the one of ours that peers are compared with")
    parser.add_argument("--backend", default="onnxruntime", help="what runs the graphs")
    parser.add_argument("--count", type=int, default=64, help="calibration images")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as temporary:
        compare(arguments, arguments.work or Path(temporary))


def compare(arguments, work):
    work.mkdir(parents=True, exist_ok=True)
    program, scorer = Program(arguments.sightline), Scorer(arguments.fixtures / "val" / "instances.json")
    calibration, images = arguments.fixtures / "calibration" / "instances.json", arguments.fixtures / "val" / "images"
    tensors = program.tensors(arguments.model, calibration, work / "tensors", arguments.count)
    base, base_samples = scorer.score(program.found(arguments.model, images, arguments.backend))
    print(f"{len(tensors)} calibration tensors; {len(scorer.images)} images; fp32 {base:.4f} on {arguments.backend}\n")
    print("| graph | INT8 FLOPs | Q + DQ | mAP | loss (95 %) | ours − it (95 %) | s |\n|---|---|---|---|---|---|---|")
    reference = None
    for name, make in makers(program, arguments.model, calibration, tensors, arguments.method, arguments.backend):
        if not re.search(arguments.only, name) and name != f"ours, {arguments.method}":
            continue
        try:
            started = time.perf_counter()
            with contextlib.redirect_stdout(sys.stderr):
                path = make(work / ("".join(c if c.isalnum() else "_" for c in name) + ".onnx"))
            seconds = time.perf_counter() - started
            described(path, arguments.model)
            share = eight_bit_share(path, tensors)
            score, samples = scorer.score(program.found(path, images, arguments.backend))
        except Exception as error:
            print(f"| {name} | fails: {type(error).__name__}: {' '.join(str(error).split())[:200]} |", flush=True)
            continue
        nodes = [node.op_type for node in onnx.load(path).graph.node]
        pairs = nodes.count("QuantizeLinear") + nodes.count("DequantizeLinear")
        if name == f"ours, {arguments.method}":
            reference = score, samples
        beside = ""
        if reference and name != f"ours, {arguments.method}":
            beside = f"{reference[0] - score:+.4f} ({change(reference[1], samples)})"
        print(f"| {name} | {share:.1%} | {pairs} | {score:.4f} | {score - base:+.4f} ({change(samples, base_samples)}) | "
              f"{beside} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())

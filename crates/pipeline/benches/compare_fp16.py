#!/usr/bin/env python3
"""float16 of a detector by this program and by the Python converters, every value truly rounded.

    compare_fp16.py SIGHTLINE MODEL FIXTURES [--work DIR] [--only REGEX]

MODEL is an ONNX file with our description in its metadata (as `sightline export` writes it), FIXTURES a folder with
`calibration` and `val`, each with `images` and `instances.json`. Converters that look at values see the same 16
calibration images. Each graph is scored twice: as ONNX Runtime's processor kernels run it, and rounded after every node
(`half.py`); loss, intervals (2,000 paired resamples of the images) and the largest differences are those of the latter.
Needs numpy, onnx, onnxruntime, onnxconverter_common, scipy and pycocotools; the row of ModelOpt also
`nvidia-modelopt[onnx]`. `sightline` needs ONNX Runtime: `sightline runtime install onnxruntime`.
"""
import argparse
import contextlib
import logging
import re
import sys
import tempfile
from pathlib import Path

import numpy
import onnx
from half import apart, detector, facts, rounded, rows
from measure import Program, Scorer, change, described, session

WATCHED = 16


def ours(program, source, fixtures, out):
    folder = out.with_suffix("")
    # 40: a check of the package failed. It is there all the same, and is judged here.
    program.run("import", source, "--name", "ours", "--out", folder, "--precision", "fp32,fp16", "--calibrate",
                fixtures / "calibration" / "instances.json", "--count", WATCHED, "--images",
                fixtures / "val" / "images", "--limit", 1, "--seconds", 1, accepted=(0, 40))
    return onnx.load(folder / "ours" / "model" / "ours_fp16.onnx")


def transformers(source):
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(onnx.load(source), keep_io_types=True)


def common(source):
    from onnxconverter_common.float16 import convert_float_to_float16

    return convert_float_to_float16(onnx.load(source), keep_io_types=True)


def auto_mixed(source, tensors):
    """Bisects for the nodes that must stay in float32: the outputs have to agree to 1 % on one image."""
    from onnxconverter_common.auto_mixed_precision import auto_convert_mixed_precision

    model = onnx.load(source)
    return auto_convert_mixed_precision(model, {model.graph.input[0].name: tensors[:1]}, rtol=1e-2, atol=1e-2,
                                        keep_io_types=True)


def auto_cast(source, tensors, out):
    from modelopt.onnx.autocast import convert_to_mixed_precision

    npz = out.with_suffix(".npz")
    numpy.savez(npz, **{onnx.load(source).graph.input[0].name: tensors})
    return convert_to_mixed_precision(str(source), keep_io_types=True, calibration_data=str(npz))


def makers(program, source, fixtures, tensors):
    return {
        "ours": lambda out: ours(program, source, fixtures, out),
        "onnxruntime.transformers.float16": lambda out: transformers(source),
        "onnxconverter_common.float16": lambda out: common(source),
        "onnxconverter_common.auto_mixed_precision": lambda out: auto_mixed(source, tensors),
        "ModelOpt AutoCast": lambda out: auto_cast(source, tensors, out),
    }


class Outputs:
    """Scores and boxes of the validation images by the float32 graph, to compare others with."""

    def __init__(self, model, tensors):
        self.tensors, self.described = tensors, detector(model)
        self.ordered = self.described["head"]["kind"] == "dense"
        self.side = 1.0 if self.described["head"]["kind"] == "queries" else float(max(tensors.shape[2:]))
        self.expected = self.of(model)

    def of(self, model):
        runner = session(model)
        names, fed = [output.name for output in runner.get_outputs()], runner.get_inputs()[0].name
        return [rows(self.described, {name: value[0].astype(numpy.float32) for name, value in
                                      zip(names, runner.run(names, {fed: tensor[None]}))}) for tensor in self.tensors]

    def apart(self, model):
        found = [apart(e, a, self.ordered, self.side) for e, a in zip(self.expected, self.of(model))]
        return numpy.array(found).max(0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sightline")
    parser.add_argument("model", type=Path)
    parser.add_argument("fixtures", type=Path)
    parser.add_argument("--work", type=Path, help="folder that the graphs stay in")
    parser.add_argument("--only", default="", help="only rows in whose name this regular expression is found, and ours")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as temporary:
        compare(arguments, arguments.work or Path(temporary))


def compare(arguments, work):
    work.mkdir(parents=True, exist_ok=True)
    program, scorer = Program(arguments.sightline), Scorer(arguments.fixtures / "val" / "instances.json")
    images, backend = arguments.fixtures / "val" / "images", "onnxruntime"
    folders = [arguments.fixtures / name / "instances.json" for name in ("calibration", "val")]
    watched = program.tensors(arguments.model, folders[0], work / "calibration", WATCHED)
    outputs = Outputs(onnx.load(arguments.model), program.tensors(arguments.model, folders[1], work / "val", 1000))
    base, base_samples = scorer.score(program.found(arguments.model, images, backend))
    print(f"{len(outputs.tensors)} images; fp32 {base:.4f}\n\n| converter | nodes | casts | nodes in fp16 | mAP, ONNX Runtime "
          "| mAP, rounded | loss (95 %) | ours − it (95 %) | scores | boxes |\n|" + "---|" * 10)
    reference = None
    for name, make in makers(program, arguments.model, arguments.fixtures, watched).items():
        if not re.search(arguments.only, name) and name != "ours":
            continue
        try:
            path = work / ("".join(c if c.isalnum() else "_" for c in name) + ".onnx")
            with contextlib.redirect_stdout(sys.stderr):
                onnx.save(make(path), path)
            half = onnx.load(described(path, arguments.model))
            about = facts(half)
            plain, _ = scorer.score(program.found(path, images, backend))
            exact = rounded(half)
            truly = path.with_suffix(".rounded.onnx")
            onnx.save(exact, truly)
            score, samples = scorer.score(program.found(truly, images, backend))
            scores, boxes = outputs.apart(exact)
        except Exception as error:
            print(f"| {name} | fails: {type(error).__name__}: {' '.join(str(error).split())[:240]} |", flush=True)
            continue
        reference = reference if reference is not None else samples
        beside = "" if name == "ours" else f"{(reference - samples).mean():+.4f} ({change(reference, samples)})"
        print(f"| {name} | {about['nodes']} | {about['casts']} | {about['share']:.1%} | {plain:.4f} | {score:.4f} | "
              f"{score - base:+.4f} ({change(samples, base_samples)}) | {beside} | {scores:.1e} | {boxes:.1e} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())

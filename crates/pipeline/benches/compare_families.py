#!/usr/bin/env python3
"""float16 of every detector family on random weights: what it changes in our graph, and what `.half()` changes in the
original model of the same weights on the same input.

    compare_families.py SIGHTLINE FIXTURES [NAME...]

FIXTURES is a folder with `val/images`; NAMEs are fixtures of crates/models/tests/fixtures (all by default). Ranges are
taken from 16 of those images and outputs compared on 16. Our graph is rounded after every node, and only where a fused
kernel ends (`half.py`); PyTorch rounds where its modules end, so the latter is what is compared: the ratio is
that of the means over images of the largest difference. Two ways of rounding equally well come out near 1. Needs numpy,
onnx, onnxruntime, scipy, torch and transformers; fixtures `ultralytics-*` need `ultralytics` in place of transformers.
"""
import argparse
import inspect
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import numpy
import onnx
from half import apart, detector, facts, rounded, rows
from measure import Program, session

os.environ["HF_HUB_OFFLINE"] = "1"
CASES = Path(__file__).resolve().parents[2] / "models" / "tests" / "fixtures"
sys.path.insert(0, str(CASES))
WATCHED, COMPARED = 16, 16


def graphs(program, folder, case, images, out):
    """The float32 graph and the float16 graph of a fixture."""
    source = out / "source"
    shutil.copytree(folder, source, ignore=shutil.ignore_patterns("case.json", "reference.safetensors"))
    command = ["import", source, "--out", out, "--name", "it", "--precision", "fp32,fp16", "--calibrate", images, "--count",
               WATCHED, "--images", images, "--limit", 1, "--seconds", 1, "--max-batch", 1]
    for text in case.get("prompt", []):
        command += ["--prompt", text]
    if case.get("task"):
        command += ["--task", case["task"]]
    if case.get("size"):
        command += ["--size", "{1}x{0}".format(*case["size"])]
    program.run(*command, accepted=(0, 40))
    return [onnx.load(out / "it" / "model" / f"it{suffix}.onnx") for suffix in ("", "_fp16")]


def fed(model, pixels):
    """The inputs of a graph: the image, and a mask of whole images where it takes one."""
    found = {}
    image = detector(model)["input"]["tensor"]
    for value in model.graph.input:
        found[value.name] = pixels
        if value.name != image:
            kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            if "mask" not in value.name:
                raise ValueError(f"input {value.name} is not one that is filled in here")
            found[value.name] = numpy.ones((len(pixels), *pixels.shape[2:]), kind)
    return found


def run(model, pixels):
    runner = session(model)
    names = [output.name for output in runner.get_outputs()]
    described = detector(model)
    outputs = runner.run(names, fed(model, pixels))
    return rows(described, {name: value[0].astype(numpy.float32) for name, value in zip(names, outputs)})


class Transformers:
    """The original of a fixture in a number format."""

    def __init__(self, folder, case, half):
        import make
        import torch
        import transformers as tf

        self.torch, self.make, self.folder, self.case = torch, make, folder, case
        config = json.loads((folder / "config.json").read_text())
        self.model = getattr(tf, config["architectures"][0]).from_pretrained(folder).float().eval()
        self.kind = torch.float16 if half else torch.float32
        self.model.to(self.kind)

    def __call__(self, described, pixels):
        torch, arch = self.torch, self.case.get("arch", "").partition(":")[0]
        pixels = torch.from_numpy(pixels).to(self.kind)
        with torch.no_grad():
            # Padding is zero, and our graph finds it by that.
            takes = "pixel_mask" in inspect.signature(self.model.forward).parameters
            mask = (pixels != 0).any(1).long() if takes else None
            found = self.make.outputs(self.model, arch, self.folder, pixels, mask, self.case)
        return rows(described, {name: value[0].float().numpy() for name, value in found.items()})


class Ultralytics:
    def __init__(self, folder, _, half):
        import torch

        self.torch = torch
        stored = torch.load(folder / "model.pt", map_location="cpu", weights_only=False)
        model = (stored.get("ema") or stored["model"]) if isinstance(stored, dict) else stored
        self.model = model.float().eval()
        for module in self.model.modules():
            if type(module).__name__ == "Upsample":
                module.recompute_scale_factor = None
        if hasattr(self.model, "end2end"):
            self.model.model[-1].end2end = getattr(self.model.model[-1], "one2one_cv2", None) is not None
        # As the library does before it takes a model to float16.
        self.model = self.model.fuse(verbose=False)
        self.kind = torch.float16 if half else torch.float32
        self.model.to(self.kind)

    def __call__(self, described, pixels):
        with self.torch.no_grad():
            found = self.model(self.torch.from_numpy(pixels).to(self.kind))
        while isinstance(found, (tuple, list)):
            found = found[0]
        head = described["head"]
        name = head.get("output") or head["logits"]
        found = found[0].float().numpy()
        if head["kind"] == "queries":
            return found[:, 4:].astype(float), found[:, :4].astype(float)
        return rows(described, {name: found})


def differences(pairs, described, side):
    """The largest differences of scores and boxes in each image, `[n, 2]`."""
    ordered = described["head"]["kind"] == "dense"
    return numpy.array([apart(first, second, ordered, side) for first, second in pairs])


def shown(found):
    """The largest of all images, and the mean of the images' largest."""
    return " | ".join(f"{most:.1e} ({mean:.1e})" for most, mean in zip(found.max(0), found.mean(0)))


def compare(program, name, images):
    folder, case = CASES / name, json.loads((CASES / name / "case.json").read_text())
    with tempfile.TemporaryDirectory() as out:
        out = Path(out)
        single, half = graphs(program, folder, case, images, out)
        tensors = program.tensors(out / "it" / "model" / "it.onnx", images, out / "tensors", COMPARED)
    described, about = detector(single), facts(half)
    side = 1.0 if described["head"]["kind"] == "queries" else float(max(tensors.shape[2:]))
    expected = [run(single, tensor[None]) for tensor in tensors]
    every, ours = [
        differences(zip(expected, [run(exact, t[None]) for t in tensors]), described, side)
        for exact in (rounded(half), rounded(half, fused=True))]
    line = f"{about['share']:.0%} | {shown(every)} | {shown(ours)}"
    try:
        make = Ultralytics if name.startswith("ultralytics") else Transformers
        original, halved = make(folder, case, False), make(folder, case, True)
        reference = [original(described, t[None]) for t in tensors]
        same = differences(zip(expected, reference), described, side)
        theirs = differences(zip(reference, [halved(described, t[None]) for t in tensors]), described, side)
    except Exception as error:
        return f"{line} | fails: {type(error).__name__}: {' '.join(str(error).split())[:110]} | | |"
    if same.max() > 1e-2:
        return f"{line} | the originals differ in float32: {shown(same)} | |"
    ratio = " | ".join(f"{ours.mean(0)[at] / theirs.mean(0)[at]:.2f}" for at in (0, 1))
    return f"{line} | {shown(theirs)} | {ratio} |"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sightline")
    parser.add_argument("fixtures", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--match", default="", help="only names in which this regular expression is found")
    arguments = parser.parse_args()
    program, images = Program(arguments.sightline), arguments.fixtures / "val" / "images"
    names = arguments.names or sorted(file.parent.name for file in CASES.glob("*/case.json"))
    print("| fixture | fp16 | ours, every node: scores | boxes | ours, fused: scores | boxes "
          "| PyTorch `.half()`: scores | boxes | ours ÷ PyTorch: scores | boxes |\n|" + "---|" * 10)
    for name in names:
        if not re.search(arguments.match, name):
            continue
        try:
            print(f"| {name} | {compare(program, name, images)}", flush=True)
        except Exception as error:
            print(f"| {name} | fails: {type(error).__name__}: {' '.join(str(error).split())[:240]} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""The Python half of `xtask parity`: what the original gives, how far an exported graph is from it, and what the Python
exporters make of the same checkpoint.

    parity.py compare CHECKPOINT MODEL.onnx ORACLE [--prompt TEXT]... [--f64]
    parity.py compare-ultralytics FILE.pt MODEL.onnx ORACLE [--f64]
    parity.py export CHECKPOINT OUT.onnx ORACLE torchscript|dynamo
    parity.py export-ultralytics FILE.pt OUT.onnx ORACLE
    parity.py slim MODEL.onnx onnxslim|onnxsim

ORACLE is the folder of `make_checkpoint.py`, `export_hf.py` and `make_ultralytics.py`. The last line printed is JSON, with
the peak memory of the process. One model is in memory at a time: the original runs first and is dropped.
"""
import argparse
import gc
import inspect
import json
import os
import runpy
import sys
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.update(YOLO_OFFLINE="true", YOLO_VERBOSE="false", YOLO_AUTOINSTALL="false")
FIXTURES = Path(__file__).resolve().parents[3] / "crates" / "models" / "tests" / "fixtures"
# Largest differences: of a class score (relative to the largest one where that is above 10), of a box (relative to the
# image). A badly conditioned network may differ by three times what its own float32 differs from float64.
SCORES, BOXES = 2e-4, 5e-5
BATCHES = (1, 3)


def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), None)


def described(file):
    """The detector in an exported file's metadata, and height and width of its input."""
    import onnx

    model = onnx.load(file, load_external_data=False)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    facts = {"nodes": len(model.graph.node), "opset": model.opset_import[0].version}
    return json.loads(metadata["sightline.detector"]), shape[2:], facts


def images(height, width):
    import torch
    from make_checkpoint import synthetic_image

    stack = [torch.from_numpy(synthetic_image(height, width, seed)).permute(2, 0, 1) for seed in (1, 2, 3)]
    return torch.stack(stack).float() * (1 / 255)


def padding(height, width):
    """1 where three images of different sizes lie on the canvas; the first is whole."""
    import torch

    mask = torch.zeros(3, height, width, dtype=torch.int64)
    for row, (share, other) in zip(mask, ((1, 1), (0.75, 0.5), (0.5, 0.8))):
        row[: round(height * share), : round(width * other)] = 1
    return mask


def run_original(folder, pixels, mask, prompt, double):
    """Outputs of the checkpoint's own model by batch, as numpy arrays."""
    import torch
    import transformers as tf

    sys.path.insert(0, str(FIXTURES))
    import make

    tf.logging.set_verbosity_error()
    config = json.loads((folder / "config.json").read_text())
    torch.set_default_dtype(torch.float64 if double else torch.float32)
    model = getattr(tf, config["architectures"][0]).from_pretrained(folder).eval()
    model = model.double() if double else model.float()
    if "pixel_mask" not in inspect.signature(model.forward).parameters:
        mask = None
    arch = config["model_type"].replace("-", "_")
    outputs = {}
    with torch.no_grad():
        for count in BATCHES:
            part = None if mask is None else mask[:count]
            feed = pixels[:count].double() if double else pixels[:count]
            found = make.outputs(model, arch, folder, feed, part, {"prompt": prompt})
            outputs[count] = {name: value.numpy() for name, value in found.items()}
    torch.set_default_dtype(torch.float32)
    return outputs


def run_ultralytics(file, pixels, double):
    import torch

    content = torch.load(file, weights_only=False)
    model = (content.get("ema") or content["model"]).float().eval()
    model = model.double() if double else model
    head = model.model[-1]
    if hasattr(model, "end2end"):
        head.end2end = getattr(head, "one2one_cv2", None) is not None
    outputs = {}
    with torch.no_grad():
        for count in BATCHES:
            found = model(pixels[:count].double() if double else pixels[:count])
            found = found[0] if isinstance(found, (list, tuple)) else found
            outputs[count] = {"output0": found.numpy()}
    return outputs


def run_graph(file, pixels):
    import onnx
    import onnxruntime

    onnx.checker.check_model(str(file), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count()
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    feed = session.get_inputs()[0].name
    return {count: dict(zip(names, session.run(None, {feed: pixels[:count].numpy()}))) for count in BATCHES}


def difference(a, b):
    import numpy

    with numpy.errstate(invalid="ignore"):
        return numpy.where(a == b, 0.0, numpy.abs(a - b))


def rows_in_order(actual, expected):
    """Which row of `actual` belongs to each of `expected`: queries of equal score may change places."""
    import numpy
    from scipy.optimize import linear_sum_assignment

    if difference(actual, expected).max() < BOXES:
        return numpy.arange(len(expected))
    apart = difference(expected[:, None], actual[None]).max(-1)
    return linear_sum_assignment(numpy.minimum(apart, 10.0))[1]


def differences(detector, actual, expected):
    """The largest differences of scores and boxes, and how many rows changed places."""
    import numpy

    head = detector["head"]
    side = min(detector["input"]["width"], detector["input"]["height"])
    worst, moved = {"scores": 0.0, "boxes": 0.0}, 0

    def note(kind, values, scale=1.0):
        worst[kind] = max(worst[kind], float(values.max()) / scale)

    for count, wanted in expected.items():
        names = sorted(set(wanted) & set(actual[count]))
        if not names:
            raise ValueError(f"the graph gives {sorted(actual[count])}, the original {sorted(wanted)}")
        if head["kind"] == "dense":
            apart = difference(actual[count][head["output"]], wanted[head["output"]])
            note("boxes", apart[:, :4], side)
            note("scores", apart[:, 4:])
            continue
        finite = {name: numpy.nan_to_num(wanted[name], neginf=0, posinf=0) for name in names}
        scale = {name: max(1.0, float(numpy.abs(finite[name]).max()) / 10) for name in names}
        for image in range(count):
            joined = [numpy.concatenate([of[name][image] for name in names], -1) for of in (actual[count], wanted)]
            order = rows_in_order(*joined)
            moved += int((order != numpy.arange(len(order))).sum())
            for name in names:
                apart = difference(actual[count][name][image][order], wanted[name][image])
                if head["kind"] == "end_to_end":
                    note("boxes", apart[:, :4], side if head["format"].endswith("pixels") else 1.0)
                    note("scores", apart[:, 4:])
                elif name in (head["boxes"], "pred_boxes"):
                    note("boxes", apart)
                else:
                    note("scores", apart, scale[name])
    return worst | {"moved": moved}


def compare(arguments, original):
    detector, (height, width), facts = described(arguments.file)
    pixels = images(height, width)
    mask = None
    if detector["input"]["resize"]["policy"] == "shortest_edge":
        mask = padding(height, width)
        pixels = pixels * mask[:, None]
    expected = original(pixels, mask, False)
    gc.collect()
    result = facts
    allowed = {"scores": SCORES, "boxes": BOXES}
    if arguments.f64:
        result["own"] = own = differences(detector, expected, original(pixels, mask, True))
        allowed = {kind: max(bound, 3 * own[kind]) for kind, bound in allowed.items()}
        gc.collect()
    result |= differences(detector, run_graph(arguments.file, pixels), expected)
    return result | {"passed": all(result[kind] <= bound for kind, bound in allowed.items())}


def slim(file, tool):
    import onnx

    model = onnx.load(file)
    if tool == "onnxslim":
        import onnxslim

        model = onnxslim.slim(model)
    else:
        import onnxsim

        model, _ = onnxsim.simplify(model)
    return {"nodes": len(model.graph.node)}


def exported(arguments):
    import onnx

    script = str(Path(arguments.oracle) / "export_hf.py")
    sys.argv = [script, arguments.source, arguments.file, "--exporter", arguments.exporter]
    runpy.run_path(script, run_name="__main__")
    return {"nodes": len(onnx.load(arguments.file, load_external_data=False).graph.node)}


def exported_ultralytics(arguments):
    import onnx
    from ultralytics import RTDETR, YOLO

    make = RTDETR if "rtdetr" in Path(arguments.source).name else YOLO
    made = make(arguments.source).export(format="onnx", opset=17, dynamic=False, simplify=False)
    os.replace(made, arguments.file)
    return {"nodes": len(onnx.load(arguments.file).graph.node)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command")
    parser.add_argument("source")
    parser.add_argument("file")
    parser.add_argument("oracle", nargs="?")
    parser.add_argument("exporter", nargs="?")
    parser.add_argument("--prompt", action="append")
    parser.add_argument("--f64", action="store_true")
    if sys.argv[1] == "slim":
        result = slim(*sys.argv[2:4])
    else:
        arguments = parser.parse_args()
        sys.path.insert(0, arguments.oracle)
        source = Path(arguments.source)
        if arguments.command == "compare":
            result = compare(arguments, lambda pixels, mask, double: run_original(
                source, pixels, mask, arguments.prompt, double))
        elif arguments.command == "compare-ultralytics":
            result = compare(arguments, lambda pixels, mask, double: run_ultralytics(source, pixels, double))
        elif arguments.command == "export":
            result = exported(arguments)
        else:
            result = exported_ultralytics(arguments)
    print(json.dumps(result | {"peak_kb": peak()}))


main()

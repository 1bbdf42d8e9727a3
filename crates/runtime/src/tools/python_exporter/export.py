"""Exports one checkpoint to ONNX: one attempt, whose settings the caller chose.

    export.py --model DIR --out FILE --exporter optimum|torchscript|dynamo --task TASK --opset N
              [--no-post-process] [--height H --width W] [--prompt TEXT]...

Prints what it does, a line each. What it found out about the file stands in lines that begin with `#`:

    # opset N                   the version that was written
    # difference NAME B VALUE   the largest difference to PyTorch for B images, run by ONNX Runtime
    # unused NAME               a tensor of the checkpoint that the model does not need
    # error TEXT                why there is no file

Nothing is fetched: the model is a folder, and code in it is not run.
"""
import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1")

CLASSES = {
    "object-detection": "AutoModelForObjectDetection",
    "zero-shot-object-detection": "AutoModelForZeroShotObjectDetection",
}
# The outputs that a detector is read from.
OUTPUTS = ["logits", "pred_boxes", "decoder_class_logits", "decoder_coord_logits"]
# Of the scale of an output: what the scores of the queries, in their order, may be off by.
BOUND = 1e-2
# Larger files keep their weights beside them: a protocol buffer cannot hold them.
LARGEST = 2_000_000_000


def load(arguments):
    import torch
    import transformers

    torch.manual_seed(0)
    local = dict(local_files_only=True, trust_remote_code=False)
    config = transformers.AutoConfig.from_pretrained(arguments.model, **local)
    if getattr(config, "use_pretrained_backbone", False):
        # The weights of the backbone are in the checkpoint.
        config.use_pretrained_backbone = False
    cls = getattr(transformers, CLASSES[arguments.task])
    model, found = cls.from_pretrained(
        arguments.model, config=config, dtype=torch.float32, attn_implementation="eager", output_loading_info=True,
        **local)
    # The library fills what is missing with random numbers and goes on; integers are indices that it computes.
    tensors = model.state_dict()
    missing = [key for key in found["missing_keys"] if key not in tensors or tensors[key].is_floating_point()]
    missing += [str(key) for key in found["mismatched_keys"]]
    if missing:
        raise ValueError(f"the checkpoint lacks {len(missing)} tensors of the model: {', '.join(missing[:5])}")
    return model.eval(), sorted(found["unexpected_keys"])


def size(arguments):
    """Height and width of the input: what was asked for, else the processor's."""
    if arguments.height and arguments.width:
        return arguments.height, arguments.width
    file = Path(arguments.model) / "preprocessor_config.json"
    known = json.loads(file.read_text()).get("size") if file.is_file() else None
    if isinstance(known, dict) and {"height", "width"} <= known.keys():
        return known["height"], known["width"]
    if isinstance(known, dict) and known.get("longest_edge"):
        return known["longest_edge"], known["longest_edge"]
    return (known, known) if isinstance(known, int) else (640, 640)


def texts(arguments):
    """The text inputs of an open-vocabulary model, for one image."""
    import transformers

    if not arguments.prompt:
        return {}
    tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.model, local_files_only=True)
    return dict(tokenizer(arguments.prompt, padding=True, return_tensors="pt"))


def images(count, height, width):
    """Smooth images: noise would be unlike everything that a detector was trained on."""
    import torch

    small = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return torch.nn.functional.interpolate(small, (height, width), mode="bicubic")


def wrapped(model, frozen, pixels):
    """The network as a function of the image alone, and the names of what it returns."""
    import torch

    with torch.no_grad():
        found = model(pixel_values=pixels[:1], **frozen)
    names = [name for name in OUTPUTS if found.get(name) is not None]
    if not names:
        raise ValueError(f"the outputs of a detector are missing: there are {', '.join(found.keys())}")

    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model
            for name, value in frozen.items():
                self.register_buffer("frozen_" + name, value)

        def forward(self, pixel_values):
            rows = pixel_values.shape[0]
            rest = {}
            for name in frozen:
                value = getattr(self, "frozen_" + name)
                rest[name] = value.repeat(rows, 1) if value.shape[0] == 1 else value
            found = self.model(pixel_values=pixel_values, **rest)
            return tuple(found[name] for name in names)

    return Wrapped().eval(), names


def by_optimum(arguments, folder, _model):
    from optimum.exporters.onnx import main_export

    height, width = size(arguments)
    main_export(
        str(arguments.model), output=str(folder), task=arguments.task, opset=arguments.opset, device="cpu",
        framework="pt", library_name="transformers", no_post_process=arguments.no_post_process,
        do_validation=False, trust_remote_code=False, local_files_only=True, height=height, width=width)
    found = sorted(folder.glob("*.onnx"))
    if len(found) != 1:
        raise ValueError(f"{len(found)} graphs were written instead of one: {[file.name for file in found]}")
    return found[0]


def by_torch(arguments, folder, model):
    import torch

    # Two images: a batch of one would be taken for a constant.
    example = images(2, *size(arguments))
    network, names = wrapped(model, texts(arguments), example)
    file = folder / "model.onnx"
    settings = dict(input_names=["pixel_values"], output_names=names, opset_version=arguments.opset)
    with torch.no_grad():
        if arguments.exporter == "dynamo":
            batch = torch.export.Dim("batch", min=1, max=1024)
            program = torch.onnx.export(
                network, (example,), dynamo=True, verbose=False, dynamic_shapes=({0: batch},), **settings)
            program.save(str(file))
        else:
            axes = {name: {0: "batch"} for name in ["pixel_values", *names]}
            torch.onnx.export(
                network, (example,), str(file), dynamo=False, do_constant_folding=True, dynamic_axes=axes,
                **settings)
    return file


def compare(arguments, file, model):
    """Runs the graph and PyTorch on the same images. Queries of equal scores may change places: that is no fault."""
    import numpy
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    kinds = {"tensor(int64)": numpy.int64, "tensor(float)": numpy.float32, "tensor(bool)": bool}
    frozen = texts(arguments)
    names = [output.name for output in session.get_outputs() if output.name in OUTPUTS]
    if not names:
        raise ValueError(f"the graph has no outputs of a detector: {[o.name for o in session.get_outputs()]}")
    for count in (1, 2):
        pixels = images(count, *size(arguments))
        feeds = {}
        for given in session.get_inputs():
            if given.name == "pixel_values":
                feeds[given.name] = pixels.numpy()
            elif given.name == "pixel_mask":
                sides = [side if isinstance(side, int) else 64 for side in given.shape[1:]]
                feeds[given.name] = numpy.ones([count, *sides], kinds[given.type])
            else:
                raise ValueError(f"the graph takes `{given.name}` besides the image")
        rows = {name: value.repeat(count, 1) if value.shape[0] == 1 else value for name, value in frozen.items()}
        with torch.no_grad():
            expected = model(pixel_values=pixels, **rows)
        for name, actual in zip(names, session.run(names, feeds)):
            wanted = expected[name].numpy()
            if wanted.shape != actual.shape:
                raise ValueError(f"`{name}` is {actual.shape} for {count} images instead of {wanted.shape}")
            print(f"# difference {name} {count} {numpy.abs(wanted - actual).max():.3e}")
            if name.endswith("logits") and "coord" not in name:
                ranked = [numpy.sort(scores.max(-1), axis=-1) for scores in (wanted, actual)]
                off = numpy.abs(ranked[0] - ranked[1]).max() / max(1.0, numpy.abs(wanted).max())
                if not off <= BOUND:
                    raise ValueError(f"`{name}` is not what PyTorch computes for {count} images: off by {off:.1e}")


def write(file, out):
    """The checked graph as one file, or with its weights beside it where it is too large."""
    import onnx

    onnx.checker.check_model(str(file))
    model = onnx.load(str(file))
    print(f"# opset {max(entry.version for entry in model.opset_import if entry.domain in ('', 'ai.onnx'))}")
    if model.ByteSize() < LARGEST:
        onnx.save(model, str(out))
    else:
        onnx.save(model, str(out), save_as_external_data=True, location=out.name + ".data")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--exporter", choices=["optimum", "torchscript", "dynamo"], required=True)
    parser.add_argument("--task", choices=CLASSES, required=True)
    parser.add_argument("--opset", type=int, required=True)
    parser.add_argument("--no-post-process", action="store_true")
    parser.add_argument("--height", type=int)
    parser.add_argument("--width", type=int)
    parser.add_argument("--prompt", action="append", default=[])
    arguments = parser.parse_args()

    folder = Path(tempfile.mkdtemp(dir=arguments.out.parent))
    try:
        model, unused = load(arguments)
        for name in unused:
            print(f"# unused {name}")
        file = (by_optimum if arguments.exporter == "optimum" else by_torch)(arguments, folder, model)
        compare(arguments, file, model)
        write(file, arguments.out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        import traceback

        traceback.print_exc()
        # Warnings that are printed later, at the end of the process, do not hide the cause.
        sys.stdout.flush()
        print(f"# error {type(error).__name__}: {' '.join(str(error).split())}", flush=True)
        sys.exit(1)

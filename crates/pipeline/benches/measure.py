"""What the comparisons of this folder share: the program as a function, mAP with paired intervals, facts of a graph.

Needs numpy, onnx, onnxruntime and pycocotools.
"""
import collections
import contextlib
import io
import json
import subprocess
from pathlib import Path

import numpy
import onnx
import onnxruntime
from onnx import helper

RESAMPLES, SEED = 2000, 0
LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class Program:
    """The program, and ONNX Runtime as one of its backends."""

    def __init__(self, binary):
        self.binary = Path(binary).resolve()

    def run(self, *arguments, accepted=(0,)):
        result = subprocess.run([self.binary, *map(str, arguments)], capture_output=True, text=True)
        if result.returncode not in accepted:
            lines = result.stderr.strip().splitlines() or [f"exit code {result.returncode}"]
            raise RuntimeError(" ".join(lines)[:300])
        return result.stdout

    def found(self, model, images, backend):
        """Detections of a folder of images as `eval` takes them: every score, the 100 best."""
        out = self.run("detect", model, images, "--backend", backend, "--confidence", CONFIDENCE, "--max", 100, "--json")
        return {image["image"]: image["detections"] for image in json.loads(out)}

    def tensors(self, model, annotations, folder, count):
        """The input tensors of images, from the program's own preprocessing: an array `[count, 3, height, width]`."""
        shape = [d.dim_value for d in onnx.load(model).graph.input[0].type.tensor_type.shape.dim][1:]
        self.run("quantize", model, "--calibrate", annotations, "--count", count, "--method", "minmax",
                 "--tensors", folder, "--out", folder)
        files = sorted(Path(folder).glob("calib_*.bin"))
        return numpy.stack([numpy.fromfile(file, numpy.float32).reshape(shape) for file in files])


# The lowest score that `eval` keeps.
CONFIDENCE = 0.001


class Scorer:
    """COCO mAP, and mAP of the same resampled images for every model."""

    def __init__(self, annotations):
        from pycocotools.coco import COCO

        with contextlib.redirect_stdout(io.StringIO()):
            self.coco = COCO(str(annotations))
        self.images = sorted(self.coco.getImgIds())
        self.ids = {self.coco.imgs[i]["file_name"]: i for i in self.images}
        generator = numpy.random.default_rng(SEED)
        draws = generator.integers(0, len(self.images), (RESAMPLES, len(self.images)))
        self.weights = numpy.stack([numpy.bincount(draw, minlength=len(self.images)) for draw in draws])

    def score(self, found):
        """mAP, and the mAP of every resample, where an image counts as often as it was drawn."""
        from pycocotools.cocoeval import COCOeval

        rows = []
        for name, detections in found.items():
            for detection in detections:
                x, y, right, bottom = detection["box"]
                rows.append({"image_id": self.ids[name], "category_id": self.category(detection),
                             "bbox": [x, y, right - x, bottom - y], "score": detection["score"]})
        if not rows:
            return 0.0, numpy.zeros(RESAMPLES)
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(self.coco, self.coco.loadRes(rows), "bbox")
            evaluation.params.areaRng, evaluation.params.areaRngLbl = evaluation.params.areaRng[:1], ["all"]
            evaluation.params.maxDets = [100]
            evaluation.evaluate()
            evaluation.accumulate()
        precision = evaluation.eval["precision"]
        whole = precision[precision > -1].mean()
        once = self.resampled(evaluation, numpy.ones((1, len(self.images)), int))
        assert abs(once[0] - whole) < 1e-9, "the resampling does not agree with pycocotools"
        return whole, self.resampled(evaluation, self.weights)

    def category(self, detection):
        by_name = {c["name"]: i for i, c in self.coco.cats.items()}
        return by_name[detection["label"]]

    def resampled(self, evaluation, weights):
        total, classes = numpy.zeros(len(weights)), numpy.zeros(len(weights))
        at = {image: index for index, image in enumerate(self.images)}
        count = len(self.images)
        for index in range(len(evaluation.params.catIds)):
            parts = [e for e in evaluation.evalImgs[index * count:(index + 1) * count] if e is not None]
            objects = numpy.zeros(count)
            for part in parts:
                objects[at[part["image_id"]]] = (1 - part["gtIgnore"]).sum()
            scores = numpy.concatenate([part["dtScores"] for part in parts])
            order = numpy.argsort(-scores, kind="mergesort")
            owner = numpy.concatenate([[at[p["image_id"]]] * len(p["dtScores"]) for p in parts]).astype(int)[order]
            matched = numpy.concatenate([part["dtMatches"] for part in parts], 1)[:, order] != 0
            ignored = numpy.concatenate([part["dtIgnore"] for part in parts], 1)[:, order].astype(bool)
            for sample, weight in enumerate(weights):
                positives = (weight * objects).sum()
                if positives:
                    total[sample] += average_precision(matched, ignored, weight[owner], positives,
                                                       evaluation.params.recThrs)
                    classes[sample] += 1
        return total / numpy.maximum(classes, 1)


def average_precision(matched, ignored, weight, positives, recalls):
    """Mean over the overlaps of the interpolated precision at the recalls, as pycocotools accumulates it."""
    true = numpy.cumsum((matched & ~ignored) * weight, 1)
    false = numpy.cumsum((~matched & ~ignored) * weight, 1)
    precision = true / numpy.maximum(true + false, numpy.spacing(1))
    precision = numpy.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
    precision = numpy.concatenate([precision, numpy.zeros((len(precision), 1))], 1)
    rows = [row[numpy.searchsorted(recall, recalls, side="left")] for row, recall in zip(precision, true / positives)]
    return numpy.mean(rows)


def change(samples, base):
    """Mean difference's 95 % interval, as text."""
    low, high = numpy.percentile(samples - base, [2.5, 97.5])
    return f"{low:+.4f} to {high:+.4f}"


def described(path, source):
    """Gives a file the metadata of ours, so that the same code prepares its input and reads its output."""
    model, ours = onnx.load(path), onnx.load(source, load_external_data=False)
    del model.metadata_props[:]
    model.metadata_props.extend(ours.metadata_props)
    onnx.save(model, path)
    return path


def session(model, threads=1):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    model = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def eight_bit_share(path, tensor):
    """Share of the multiplications of convolutions and matrix products whose two operands are eight-bit: both come out of
    a DequantizeLinear. Shapes are those of a run over one image."""
    model = onnx.load(path)
    makers = {output: node for node in model.graph.node for output in node.output}
    constants = {i.name: list(i.dims) for i in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type in LINEAR]
    have = {output.name for output in model.graph.output}
    wanted = {name for node in nodes for name in (*node.input[:2], node.output[0])
              if name not in constants and name not in {i.name for i in model.graph.input}} - have
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in sorted(wanted))
    runner = session(model)
    names = [output.name for output in runner.get_outputs()]
    shapes = {name: value.shape for name, value in zip(names, runner.run(names, {runner.get_inputs()[0].name: tensor[:1]}))}
    shapes |= constants
    work = collections.Counter()
    for node in nodes:
        weight = shapes[node.input[1]]
        if node.op_type == "Conv":
            depth = numpy.prod(weight[1:])
        elif node.op_type == "ConvTranspose":
            depth = numpy.prod(weight[2:]) * weight[0]
        else:
            depth = weight[-2] if not any(a.name == "transB" and a.i for a in node.attribute) else weight[-1]
        eight = all(makers.get(n) is not None and makers[n].op_type == "DequantizeLinear" for n in node.input[:2])
        work[eight] += int(numpy.prod(shapes[node.output[0]])) * int(depth)
    return work[True] / max(1, sum(work.values()))

"""What a float16 graph computes when every value of it is truly rounded, and how far its outputs are from others.

ONNX Runtime on a processor has hardly any float16 kernels: it casts around every node, and leaves out the casts between
neighbours, so that nothing is rounded there. `rounded` puts the rounding back: a graph in float32 whose every value that
was float16 goes through float16 after the node that makes it. Sums inside a node stay in float32, as on a GPU.

Needs numpy, onnx, onnxruntime and scipy.
"""
import json

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from scipy.optimize import linear_sum_assignment

HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT
# These only move values: what comes in rounded goes out rounded.
MOVES = {"Concat", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "MaxPool", "Pad", "Reshape",
         "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Where"}
# What TensorRT and PyTorch compute in one kernel when they follow each other (x · sigmoid(x), GELU …).
POINTWISE = {"Abs", "Add", "Clip", "Div", "Erf", "Exp", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Max", "Min", "Mul",
             "Neg", "Pow", "Reciprocal", "Relu", "Sigmoid", "Softplus", "Sqrt", "Sub", "Tanh"}


def types(model):
    """Element types of all values, as ONNX Runtime infers them (`tensor(float16)` …)."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    names = [output for node in copy.graph.node for output in node.output if output]
    del copy.graph.output[:]
    copy.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    runner = onnxruntime.InferenceSession(copy.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = {output.name: output.type for output in runner.get_outputs()}
    return found | {value.name: value.type for value in runner.get_inputs()}


def facts(model):
    """How many nodes and casts there are, and which share of the nodes that make floats makes float16."""
    known = types(model)
    kinds = [(node.op_type, known.get(node.output[0], "")) for node in model.graph.node]
    floats = [kind for operator, kind in kinds if operator not in ("Cast", "Constant") and "float" in kind]
    casts = sum(operator == "Cast" and "float" in kind for operator, kind in kinds)
    return {"nodes": len(kinds), "casts": casts, "share": floats.count("tensor(float16)") / max(1, len(floats))}


def widened(tensor):
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(numpy.float32), tensor.name)


def inside(model):
    """Values that never leave a fused kernel: between two pointwise operators, and the scores of attention, which PyTorch
    and TensorRT keep in float32 up to the softmax."""
    readers, outputs = {}, {value.name for value in model.graph.output}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    scores, found = set(), set()
    for node in reversed(model.graph.node):
        for name in node.output:
            after = readers.get(name, [])
            if name in outputs or not after:
                continue
            through = POINTWISE | {"MatMul", "Cast", "Reshape"}
            if node.op_type in through and all(
                    reader.op_type == "Softmax" or reader.output[0] in scores for reader in after):
                scores.add(name)
            if node.op_type in POINTWISE and all(reader.op_type in POINTWISE for reader in after):
                found.add(name)
    return found | scores


def rounded(model, fused=False):
    """The same graph in float32 with every float16 value rounded to float16; `fused` leaves out those `inside`."""
    skipped = inside(model) if fused else set()
    known = types(model)
    if any(value.type.tensor_type.elem_type == HALF for value in model.graph.input):
        raise ValueError("an input is float16")
    out = onnx.ModelProto()
    out.CopyFrom(model)
    del out.graph.node[:], out.graph.value_info[:]
    for index, tensor in enumerate(out.graph.initializer):
        if tensor.data_type == HALF:
            out.graph.initializer[index].CopyFrom(widened(tensor))
    for value in out.graph.output:
        if value.type.tensor_type.elem_type == HALF:
            value.type.tensor_type.elem_type = FLOAT
    for node in model.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for attribute in copy.attribute:
            if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
                raise ValueError(f"{node.op_type} has a graph of its own")
            if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == HALF:
                attribute.t.CopyFrom(widened(attribute.t))
            if attribute.name == "to" and attribute.i == HALF:
                attribute.i = FLOAT
        rounds = node.op_type not in MOVES | {"Constant", "ConstantOfShape"}
        names = [name for name in node.output
                 if rounds and known.get(name) == "tensor(float16)" and name not in skipped]
        for index, name in enumerate(copy.output):
            if name in names:
                copy.output[index] = f"{name}//exact"
        out.graph.node.append(copy)
        for name in names:
            out.graph.node.append(helper.make_node("Cast", [f"{name}//exact"], [f"{name}//half"], to=HALF))
            out.graph.node.append(helper.make_node("Cast", [f"{name}//half"], [name], to=FLOAT))
    return out


def detector(model):
    return json.loads(next(p.value for p in model.metadata_props if p.key == "sightline.detector"))


def rows(described, outputs):
    """Scores `[n, C]` and boxes `[n, 4]`, relative to the image, of one image's outputs (a dictionary)."""
    head = described["head"]
    if head["kind"] == "queries":
        logits = outputs[head["logits"]].astype(numpy.float64)
        if head["activation"]["function"] == "softmax":
            power = numpy.exp(logits - logits.max(-1, keepdims=True))
            scores = power / power.sum(-1, keepdims=True)
        elif head["activation"]["function"] == "sigmoid":
            scores = 1 / (1 + numpy.exp(-logits))
        else:
            scores = logits
        return scores, outputs[head["boxes"]].astype(numpy.float64)
    if head["kind"] not in ("dense", "end_to_end"):
        raise ValueError(f"heads of kind {head['kind']} are not compared")
    table = outputs[head["output"]].astype(numpy.float64)
    if head["kind"] == "dense" and head["layout"] == "channels_first":
        table = table.T
    if head["kind"] == "end_to_end":
        # A score and the number of its class.
        scores = numpy.zeros((len(table), len(described["labels"])))
        scores[numpy.arange(len(table)), numpy.clip(table[:, 5], 0, scores.shape[1] - 1).astype(int)] = table[:, 4]
        return scores, table[:, :4]
    return table[:, 4:], table[:, :4]


def apart(first, second, ordered, side=1.0, confident=0.3):
    """The largest differences of scores, and of boxes where a score of the first is above `confident` (of the best tenth
    where none is). Rows of queries may change places: each is matched with one of its own."""
    (scores, boxes), (others, places) = first, second
    if not all(numpy.isfinite(values).all() for values in second):
        return numpy.inf, numpy.inf
    if not ordered:
        joined = [numpy.concatenate(pair, -1) for pair in (first, second)]
        order = linear_sum_assignment(numpy.abs(joined[0][:, None] - joined[1][None]).max(-1))[1]
        others, places = others[order], places[order]
    best = scores.max(-1)
    counted = best >= (confident if best.max() >= confident else numpy.quantile(best, 0.9))
    return numpy.abs(scores - others).max(), (numpy.abs(boxes - places)[counted] / side).max()

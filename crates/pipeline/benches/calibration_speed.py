#!/usr/bin/env python3
"""Time and peak memory of INT8 calibration: this program, ONNX Runtime and ModelOpt, each in a process of its own, one
after the other.

    calibration_speed.py SIGHTLINE MODEL IMAGES [--counts 100,1000] [--ort 20] [--modelopt 100] [--python PY] [--modelopt-python PY]

MODEL is an ONNX file that `sightline` knows how to feed, IMAGES a folder. The peers get the tensors that `sightline quantize
--tensors` writes; reading them is part of their time, as decoding images is part of ours. `--python` needs onnx and
onnxruntime, `--modelopt-python` also `nvidia-modelopt[onnx]`. A count of 0 leaves a peer out. Images are repeated
under new names when the folder holds fewer than asked for.
"""
import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ORT = """
import sys, numpy
from pathlib import Path
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
import onnx
model, folder, out = sys.argv[1:4]
info = onnx.load(model, load_external_data=False).graph.input[0]
shape = [1] + [d.dim_value for d in info.type.tensor_type.shape.dim][1:]
class Reader(CalibrationDataReader):
    def __init__(self): self.files = iter(sorted(Path(folder).glob("calib_*.bin")))
    def get_next(self):
        file = next(self.files, None)
        return None if file is None else {info.name: numpy.fromfile(file, numpy.float32).reshape(shape)}
quantize_static(model, out, Reader(), quant_format=QuantFormat.QDQ, per_channel=True, activation_type=QuantType.QInt8,
    weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod.Entropy,
    extra_options={"ActivationSymmetric": True, "WeightSymmetric": True})
"""

MODELOPT = """
import sys, numpy
from pathlib import Path
from modelopt.onnx.quantization import quantize
import onnx
model, folder, out = sys.argv[1:4]
info = onnx.load(model, load_external_data=False).graph.input[0]
shape = [-1] + [d.dim_value for d in info.type.tensor_type.shape.dim][1:]
data = numpy.concatenate([numpy.fromfile(f, numpy.float32).reshape(shape) for f in sorted(Path(folder).glob("calib_*.bin"))])
quantize(model, quantize_mode="int8", calibration_method="entropy", calibration_data={info.name: data}, output_path=out)
"""


def measured(command):
    """Wall-clock seconds and peak memory in MB of a child, or what it said last."""
    before = time.monotonic()
    with tempfile.TemporaryFile("w+") as said:
        child = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - before
        said.seek(0)
        lines = [line for line in said.read().splitlines() if line.strip()]
    if os.waitstatus_to_exitcode(status) != 0:
        return f"failed after {seconds:.0f} s: {lines[-1] if lines else ''}"
    return f"{seconds:.1f} s, {usage.ru_maxrss / 1024:.0f} MB"


def images(folder, count, work):
    """A folder of `count` images: links to those of `folder`, in turn."""
    files = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    place = work / f"images-{count}"
    place.mkdir()
    for at in range(count):
        original = files[at % len(files)].resolve()
        (place / f"{at:05}{original.suffix}").symlink_to(original)
    return place


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sightline")
    parser.add_argument("model")
    parser.add_argument("images")
    parser.add_argument("--counts", default="100,1000")
    parser.add_argument("--methods", default="entropy,auto")
    parser.add_argument("--ort", type=int, default=20)
    parser.add_argument("--modelopt", type=int, default=100)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--modelopt-python", default=sys.executable)
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="calibration-"))
    try:
        for count in (int(count) for count in arguments.counts.split(",") if count):
            folder = images(arguments.images, count, work)
            for method in arguments.methods.split(","):
                command = [arguments.sightline, "quantize", arguments.model, "--calibrate", str(folder), "--quiet",
                           "--count", str(count), "--method", method, "--out", str(work / "out")]
                print(f"sightline {method}, {count} images: {measured(command)}", flush=True)
        peers = [("ONNX Runtime entropy", arguments.ort, arguments.python, ORT),
                 ("ModelOpt entropy", arguments.modelopt, arguments.modelopt_python, MODELOPT)]
        for name, count, python, script in peers:
            if count == 0:
                continue
            folder = images(arguments.images, count, work) if not (work / f"images-{count}").exists() else work / f"images-{count}"
            tensors = work / f"tensors-{count}"
            subprocess.run([arguments.sightline, "quantize", arguments.model, "--calibrate", str(folder), "--quiet", "--method",
                            "minmax", "--count", str(count), "--tensors", str(tensors), "--out", str(work / "out")], check=True, stdout=subprocess.DEVNULL)
            command = [python, "-c", script, arguments.model, str(tensors), str(work / "peer.onnx")]
            print(f"{name}, {count} images: {measured(command)}", flush=True)
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()

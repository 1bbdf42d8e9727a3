"""What Python makes of the same files: images a second from JPEG files to boxes.

    peer.py images SOURCE OUT WIDTH HEIGHT          JPEG files of one size, made from a folder of images
    peer.py run CHECKPOINT ONNX IMAGES PRECISION BATCHES SECONDS

CHECKPOINT is a folder of Hugging Face or an Ultralytics file; ONNX the graph that Sightline exported from it. Prints one line
of JSON: for `network` (the graph alone), `torch` and `onnxruntime`, images a second by batch, or why there are none.
"""

import itertools
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.update(YOLO_OFFLINE="true", YOLO_VERBOSE="false", YOLO_AUTOINSTALL="false", HF_HUB_OFFLINE="1")


def make_images(source, out, width, height):
    from PIL import Image

    Path(out).mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(sorted(Path(source).glob("*.jpg"))):
        image = Image.open(path).convert("RGB").resize((int(width), int(height)), Image.BICUBIC)
        image.save(Path(out) / f"{number:04}.jpg", quality=90)


def batches_of(paths, batch):
    endless = itertools.cycle(paths)
    while True:
        yield list(itertools.islice(endless, batch))


def rate(run, paths, batch, seconds):
    """Images a second of `run(files)`; the first three batches are not counted."""
    source = batches_of(paths, batch)
    for _ in range(3):
        run(next(source))
    begun, images = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        run(next(source))
        images += batch
    return images / (time.perf_counter() - begun)


def opened(paths):
    """PIL images, decoded by as many threads as there are cores."""
    from PIL import Image

    return list(POOL.map(lambda path: Image.open(path).convert("RGB"), paths))


POOL = ThreadPoolExecutor(os.cpu_count())


def transformers_peers(checkpoint, onnx, half):
    import torch
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    processor = AutoImageProcessor.from_pretrained(checkpoint)
    model = AutoModelForObjectDetection.from_pretrained(checkpoint).eval().cuda()
    if half:
        model = model.half()

    def boxes(outputs, images):
        sizes = [(image.height, image.width) for image in images]
        return processor.post_process_object_detection(outputs, threshold=0.25, target_sizes=sizes)

    @torch.inference_mode()
    def run_torch(paths):
        images = opened(paths)
        inputs = processor(images, return_tensors="pt", device="cuda")
        pixels = inputs["pixel_values"].to(model.dtype)
        found = boxes(model(pixel_values=pixels), images)
        return [one["scores"].tolist() for one in found]

    session = cuda_session(onnx)
    names = [output.name for output in session.get_outputs()]

    class Outputs:
        def __init__(self, values):
            self.logits, self.pred_boxes = torch.from_numpy(values["logits"]), torch.from_numpy(values["pred_boxes"])

    def run_onnxruntime(paths):
        images = opened(paths)
        pixels = processor(images, return_tensors="np")["pixel_values"]
        values = dict(zip(names, session.run(None, {session.get_inputs()[0].name: pixels})))
        return boxes(Outputs(values), images)

    return run_torch, run_onnxruntime


def ultralytics_peers(checkpoint, onnx, half):
    import numpy
    import torch
    from torchvision.ops import batched_nms
    from ultralytics import YOLO

    model = YOLO(checkpoint, task="detect")

    def run_torch(paths):
        found = model.predict(
            paths, imgsz=640, conf=0.25, iou=0.7, device=0, half=half, batch=len(paths), rect=False, verbose=False
        )
        return [one.boxes.data.tolist() for one in found]

    session = cuda_session(onnx)

    def letterboxed(path):
        from PIL import Image

        image = Image.open(path).convert("RGB")
        factor = min(640 / image.width, 640 / image.height)
        width, height = round(image.width * factor), round(image.height * factor)
        canvas = Image.new("RGB", (640, 640), (114, 114, 114))
        canvas.paste(image.resize((width, height), Image.BILINEAR), ((640 - width) // 2, (640 - height) // 2))
        return numpy.asarray(canvas, dtype=numpy.float32).transpose(2, 0, 1) / 255

    def run_onnxruntime(paths):
        pixels = numpy.stack(list(POOL.map(letterboxed, paths)))
        output = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: pixels})[0])
        found = []
        for row in output.transpose(1, 2):
            scores, classes = row[:, 4:].max(1)
            kept = scores > 0.25
            centre, size = row[kept, :2], row[kept, 2:4]
            corners = torch.cat([centre - size / 2, centre + size / 2], 1)
            found.append(corners[batched_nms(corners, scores[kept], classes[kept], 0.7)[:300]].tolist())
        return found

    return run_torch, run_onnxruntime


def cuda_session(onnx):
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx, providers=["CUDAExecutionProvider"])
    assert session.get_providers()[0] == "CUDAExecutionProvider", "the CUDA provider did not load"
    return session


def network(onnx, batch, seconds):
    """Images a second of the graph alone: input and outputs stay on the device, convolutions in full float32 as Sightline's."""
    import numpy
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx, providers=[("CUDAExecutionProvider", {"use_tf32": "0"})])
    binding = session.io_binding()
    for place in session.get_inputs():
        shape = [size if isinstance(size, int) else (batch if at == 0 else 640) for at, size in enumerate(place.shape)]
        dtype = numpy.float16 if "float16" in place.type else numpy.float32
        pixels = numpy.random.default_rng(0).random(shape, dtype=numpy.float32).astype(dtype)
        binding.bind_ortvalue_input(place.name, onnxruntime.OrtValue.ortvalue_from_numpy(pixels, "cuda", 0))
    for place in session.get_outputs():
        binding.bind_output(place.name, "cuda")

    def run(_):
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return rate(run, [onnx], batch, seconds)


def run(checkpoint, onnx, images, precision, batches, seconds):
    import torch  # before ONNX Runtime: it brings CUDA's libraries

    paths = [str(path) for path in sorted(Path(images).glob("*.jpg"))]
    peers = transformers_peers if Path(checkpoint).is_dir() else ultralytics_peers
    result = {"versions": {"torch": torch.__version__}}
    measured = dict(zip(["torch", "onnxruntime"], peers(checkpoint, onnx, precision == "fp16")))
    for name in ["network", *measured]:
        result[name] = {}
        for batch in map(int, batches.split(",")):
            try:
                if name == "network":
                    result[name][batch] = network(onnx, batch, float(seconds))
                else:
                    result[name][batch] = rate(measured[name], paths, batch, float(seconds))
            except Exception as error:  # noqa: BLE001: a peer that fails is a row of the table
                result[name][batch] = f"{type(error).__name__}: {error}"[:200]
    print(json.dumps(result))


if __name__ == "__main__":
    {"images": make_images, "run": run}[sys.argv[1]](*sys.argv[2:])

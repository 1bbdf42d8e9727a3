#!/usr/bin/env python3
"""Finds objects in images with a Triton server: python3 client.py IMAGE... [--model MODEL] [--url HOST:PORT] [--json]

Needs tritonclient[http], numpy and Pillow. What each model takes and gives is read from models.json beside it.
"""
import argparse
import json
import pathlib
import sys

import numpy as np
import tritonclient.http as triton
from PIL import Image
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

HERE = pathlib.Path(__file__).resolve().parent
@DETECTOR@


def feed(model, path, image):
    """The inputs of a model for one image, and the way back for its boxes."""
    spec = model["detector"]["input"]
    if model["takes"] == "frames":
        pixels = np.asarray(image)
        pixels = pixels if spec["frames"]["layout"] == "rgb" else pixels[..., ::-1]
        return {spec["tensor"]: np.ascontiguousarray(pixels)[None]}, (np.zeros(2), np.ones(2), np.ones(2))
    if model["takes"] == "encoded_images":
        _, corner, per_unit, per_pixel = geometry(spec, *image.size)
        encoded = np.frombuffer(path.read_bytes(), np.uint8)[None]
        return {"encoded_images": encoded}, (np.array(corner), np.array(per_unit), np.array(per_pixel))
    return inputs(spec, image)


def infer(client, name, version, tensors):
    """One request; gives the outputs by name."""
    requested = []
    for tensor, values in tensors.items():
        requested.append(triton.InferInput(tensor, list(values.shape), np_to_triton_dtype(values.dtype)))
        requested[-1].set_data_from_numpy(values)
    answer = client.infer(name, requested, model_version=version)
    return {output["name"]: answer.as_numpy(output["name"]) for output in answer.get_response()["outputs"]}


def main():
    models = json.loads((HERE / "models.json").read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", type=pathlib.Path, metavar="IMAGE")
    parser.add_argument("--model", choices=models, default="@MODEL@", metavar="MODEL", help=", ".join(models))
    parser.add_argument("--version", default="", help="version of the model (default: the newest one)")
    parser.add_argument("--url", default="localhost:8000", help="host and HTTP port of the server")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    parser.add_argument("--threshold", type=float, help="smallest score (default: the model's own)")
    options = parser.parse_args()

    detector = models[options.model]["detector"]
    client = triton.InferenceServerClient(options.url)
    results = []
    for path in options.images:
        image = Image.open(path).convert("RGB")
        tensors, way_back = feed(models[options.model], path, image)
        try:
            out = infer(client, options.model, options.version, tensors)
        except (InferenceServerException, OSError) as error:
            sys.exit(f"{options.url}: {error}")
        found = [
            {"label": label, "name": detector["labels"].get(str(label), f"class {label}"), "score": score, "box": box}
            for label, score, box in detections(detector, out, image, way_back, options.threshold)
        ]
        results.append({"image": str(path), "detections": found})
    if options.json:
        return print(json.dumps(results, indent=2))
    for result in results:
        print(f"{result['image']}: {len(result['detections'])} found")
        for one in result["detections"]:
            print(f"  {one['score']:.3f}  {one['name']:<20} " + " ".join(f"{value:8.1f}" for value in one["box"]))


if __name__ == "__main__":
    main()

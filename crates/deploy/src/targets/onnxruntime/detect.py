#!/usr/bin/env python3
"""Finds objects in images with ONNX Runtime: python3 detect.py IMAGE... [--json] [--threshold T] [--draw FOLDER]

Needs onnxruntime, numpy and Pillow. Everything about the model is read from detector.json beside it.
"""
import argparse
import json
import pathlib
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageDraw

ROOT = pathlib.Path(__file__).resolve().parent.parent
@DETECTOR@

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", type=pathlib.Path, metavar="IMAGE")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    parser.add_argument("--threshold", type=float, help="smallest score (default: the model's own)")
    parser.add_argument("--draw", type=pathlib.Path, metavar="FOLDER", help="write the images with their boxes")
    options = parser.parse_args()

    detector = json.loads((ROOT / "detector.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(str(ROOT / "@MODEL@"), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    results = []
    for path in options.images:
        image = Image.open(path).convert("RGB")
        feed, way_back = inputs(detector["input"], image)
        out = dict(zip(names, session.run(names, feed)))
        found = [
            {"label": label, "name": detector["labels"].get(str(label), f"class {label}"), "score": score, "box": box}
            for label, score, box in detections(detector, out, image, way_back, options.threshold)
        ]
        results.append({"image": str(path), "detections": found})
        if options.draw:
            pen = ImageDraw.Draw(image)
            for one in found:
                pen.rectangle(one["box"], outline="red", width=2)
                pen.text(one["box"][:2], f"{one['name']} {one['score']:.2f}", fill="red")
            options.draw.mkdir(parents=True, exist_ok=True)
            image.save(options.draw / path.name)
    if options.json:
        return print(json.dumps(results, indent=2))
    for result in results:
        print(f"{result['image']}: {len(result['detections'])} found")
        for one in result["detections"]:
            print(f"  {one['score']:.3f}  {one['name']:<20} " + " ".join(f"{value:8.1f}" for value in one["box"]))


if __name__ == "__main__":
    main()

"""Copies the first N images of a COCO folder and their annotations: make_subset.py FROM TO [N]

FROM and TO are folders with `images/` and `instances.json`. Made `val/` here from the 128 validation scenes.
"""
import json, pathlib, shutil, sys

source, target = map(pathlib.Path, sys.argv[1:3])
count = int(sys.argv[3]) if len(sys.argv) > 3 else 24
data = json.loads((source / "instances.json").read_text())
data["images"] = sorted(data["images"], key=lambda image: image["id"])[:count]
kept = {image["id"] for image in data["images"]}
data["annotations"] = [a for a in data["annotations"] if a["image_id"] in kept]
(target / "images").mkdir(parents=True, exist_ok=True)
for image in data["images"]:
    shutil.copyfile(source / "images" / image["file_name"], target / "images" / image["file_name"])
(target / "instances.json").write_text(json.dumps(data))

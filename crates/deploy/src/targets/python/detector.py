"""Around a network in numpy and Pillow: part of the programs that targets deliver, after their imports."""
# @BEGIN@
FILTERS = {name: Image.Resampling[name.upper()] for name in ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")}
DTYPES = {"float32": np.float32, "float16": np.float16, "uint8": np.uint8}


# ---- pixels in ------------------------------------------------------------------------------------------------------


def geometry(spec, width, height):
    """Where the image lies in the tensor: its size there, its corner, and original pixels a unit and a pixel."""
    resize, target = spec["resize"], (spec["width"], spec["height"])
    policy = resize["policy"]
    if policy == "letterbox":
        gain = min(target[0] / width, target[1] / height)
        gain = gain if resize["upscale"] else min(gain, 1.0)
        size = [min(max(round(side * gain), 1), most) for side, most in zip((width, height), target)]
        halves = [(most - side) / 2 if resize["centred"] else 0 for side, most in zip(size, target)]
        corner = [max(round(half - 0.1), 0) for half in halves]
        return size, corner, [side / gain for side in target], [1 / gain] * 2
    size = target if policy == "stretch" else shortest_edge(resize, target, width, height)
    return size, [0, 0], [width, height], [width / size[0], height / size[1]]


def shortest_edge(resize, target, width, height):
    """The rule of Hugging Face's processors; an image that would not fit the tensor is reduced further."""
    short, long = min(width, height), max(width, height)
    exact = resize["shortest"]
    if long / short * exact > resize["longest"]:
        exact = resize["longest"] * short / long
    side = max(round(exact), 1)
    if short == side:
        size = (width, height)
    elif width < height:
        size = (side, int(exact * height / width))
    else:
        size = (int(exact * width / height), side)
    step = resize.get("multiple_of") or 1
    rounded = lambda size: [max(side - side % step if side > step else side, 1) for side in size]
    if all(side <= most for side, most in zip(rounded(size), target)):
        return rounded(size)
    gain = min(target[0] / width, target[1] / height)
    return rounded([min(max(round(side * gain), 1), most) for side, most in zip((width, height), target)])


def resized(spec, image, size):
    if image.size == tuple(size):
        return image
    if spec["antialias"] or spec["filter"] == "nearest":
        return image.resize(size, FILTERS[spec["filter"]])
    if spec["filter"] not in ("bilinear", "bicubic"):
        sys.exit(f"the filter {spec['filter']} without antialiasing is not in Pillow")
    steps = (image.width / size[0], 0, 0, 0, image.height / size[1], 0)
    return image.transform(size, Image.Transform.AFFINE, steps, FILTERS[spec["filter"]])


def nv12(image, matrix):
    """Brightness, and the mean colour of each block of 2 x 2 pixels; limited range."""
    red, blue = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}[matrix]
    shares = np.array([red, 1 - red - blue, blue])
    pixels = np.asarray(image, np.float64)
    to_bytes = lambda values: np.clip(values + 0.5, 0, 255).astype(np.uint8)
    rows, columns = np.arange(0, image.height, 2), np.arange(0, image.width, 2)
    sums = np.add.reduceat(np.add.reduceat(pixels, rows, 0), columns, 1)
    counts = np.minimum(2, image.height - rows)[:, None] * np.minimum(2, image.width - columns)
    means = sums / counts[..., None]
    part = lambda at, share: 128 + 224 / 255 * (means[..., at] - means @ shares) / (2 * (1 - share))
    colour = np.stack([to_bytes(part(2, blue)), to_bytes(part(0, red))], -1)
    return to_bytes(16 + 219 / 255 * (pixels @ shares)), colour


def raw_frames(spec, image):
    """What a graph takes that does the rest itself; boxes come out in pixels of the image."""
    frames = spec["frames"]
    if frames["layout"] == "nv12":
        light, colour = nv12(image, frames["matrix"])
        return {spec["tensor"]: light[None], frames["uv"]: colour[None]}, None
    pixels = np.asarray(image)
    return {spec["tensor"]: np.ascontiguousarray(pixels if frames["layout"] == "rgb" else pixels[..., ::-1])[None]}, None


def inputs(spec, image):
    """The graph's inputs for one image, and the way back for its boxes."""
    if spec.get("frames"):
        return raw_frames(spec, image)
    size, corner, per_unit, per_pixel = geometry(spec, *image.size)
    scale, mean, std = (np.asarray(spec[key], np.float32).astype(np.float64) for key in ("scale", "mean", "std"))
    pixels = np.asarray(resized(spec, image, size), np.float64)
    pixels = pixels if spec["channels"] == "rgb" else pixels[..., ::-1]
    tensor = np.zeros((1, 3, spec["height"], spec["width"]), np.float32)
    if spec["resize"]["policy"] == "letterbox":
        tensor[:] = ((spec["resize"]["fill"] * scale - mean) / std)[:, None, None]
    (left, top), (width, height) = corner, size
    tensor[0, :, top : top + height, left : left + width] = ((pixels * scale - mean) / std).transpose(2, 0, 1)
    feed = {spec["tensor"]: tensor.astype(DTYPES[spec["dtype"]])}
    if mask := spec.get("mask"):
        columns = np.arange(mask["width"]) * spec["width"] // mask["width"]
        rows = np.arange(mask["height"]) * spec["height"] // mask["height"]
        inside = ((rows >= top) & (rows < top + height))[:, None] & ((columns >= left) & (columns < left + width))
        feed[mask["tensor"]] = inside[None].astype(np.int64)
    if name := spec.get("image_size"):
        feed[name] = np.array([image.size], np.int64)
    return feed, (np.array(corner), np.array(per_unit), np.array(per_pixel))


# ---- boxes out ------------------------------------------------------------------------------------------------------


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def activated(activation, values):
    if activation["function"] == "sigmoid":
        return sigmoid(values)
    if activation["function"] == "softmax":
        powers = np.exp(values - values.max(-1, keepdims=True))
        values = powers / powers.sum(-1, keepdims=True)
        return values[..., :-1] if activation["background"] == "last" else values
    return values


def queries(head, out, threshold):
    scores = activated(head["activation"], out[head["logits"]][0])
    if head["selection"]["rule"] == "top_k":
        best = np.argsort(-scores, axis=None, kind="stable")[: head["selection"]["count"]]
        query, label = np.unravel_index(best, scores.shape)
    else:
        query, label = np.arange(len(scores)), scores.argmax(1)
    return out[head["boxes"]][0][query], scores[query, label], label


def dense(head, out, threshold):
    rows = out[head["output"]][0]
    rows = rows.T if head["layout"] == "channels_first" else rows
    scores = activated(head["activation"], rows[:, 4:])
    scores = scores[:, 1:] * scores[:, :1] if head["objectness"] else scores
    label = scores.argmax(1)
    score = scores.max(1)
    best = np.argsort(-score, kind="stable")
    best = best[score[best] > threshold][:30000]
    return rows[best, :4], score[best], label[best]


def end_to_end(head, out, threshold):
    rows = out[head["output"]][0]
    return rows[:, :4], rows[:, 4], rows[:, 5]


def end_to_end_parts(head, out, threshold):
    boxes = out[head["boxes"]][0]
    used = int(np.ravel(out[head["count"]])[0]) if head.get("count") else len(boxes)
    scores = out[head["scores"]][0].reshape(-1) if head.get("scores") else boxes[:, 4]
    return boxes[:used, :4], scores[:used], out[head["classes"]][0].reshape(-1)[:used]


def suppressed(boxes, labels, overlap):
    """Indices of the boxes that no better box of their class overlaps by more than `overlap`; best first."""
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), 1)
    kept = []
    for row in range(len(boxes)):
        same = [other for other in kept if labels[other] == labels[row]]
        sides = np.minimum(boxes[same, 2:], boxes[row, 2:]) - np.maximum(boxes[same, :2], boxes[row, :2])
        shared = np.prod(np.maximum(sides, 0), 1)
        if not (shared / np.maximum(areas[same] + areas[row] - shared, 1e-9) > overlap).any():
            kept.append(row)
    return kept


def placed(form, boxes, way_back):
    """Corners in pixels of the original image."""
    if form == "xyxy_original":
        return boxes
    corner, per_unit, per_pixel = way_back
    if form.startswith("cxcywh"):
        half = boxes[:, 2:] / 2
        boxes = np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], 1)
    if form.endswith("normalized"):
        return boxes * np.tile(per_unit, 2) - np.tile(corner * per_pixel, 2)
    return (boxes - np.tile(corner, 2)) * np.tile(per_pixel, 2)


HEADS = {"queries": queries, "dense": dense, "end_to_end": end_to_end, "end_to_end_parts": end_to_end_parts}


def detections(detector, out, image, way_back, threshold=None):
    """A list of (label, score, [x1, y1, x2, y2]), best first."""
    head = detector["head"]
    kind = head["kind"]
    if threshold is None:
        threshold = head.get("confidence", 0.25 if kind == "end_to_end" else 0.5)
    out = {name: np.asarray(values, np.float32) for name, values in out.items()}
    boxes, scores, labels = HEADS[kind](head, out, threshold)
    boxes = placed(head["format"], boxes, way_back)
    real = (scores > threshold) & np.isfinite(boxes).all(1)
    if kind.startswith("end_to_end"):  # padding has score 0 or a negative class
        real &= (scores > 0) & (labels >= -0.5)
    boxes, scores, labels = boxes[real], scores[real], np.rint(labels[real]).astype(int)
    best = np.argsort(-scores, kind="stable")
    boxes, scores, labels = boxes[best], scores[best], labels[best]
    if head.get("iou") is not None:
        kept = suppressed(boxes, labels, head["iou"])
        boxes, scores, labels = boxes[kept], scores[kept], labels[kept]
    if kind in ("dense", "end_to_end") or head.get("iou") is not None or head.get("clip"):  # as the originals do
        boxes = np.clip(boxes, 0, np.tile(image.size, 2))
    return [(int(l), float(s), [float(v) for v in b]) for l, s, b in zip(labels[:300], scores, boxes)]

"""Trains the dense detector of this folder from scratch on synthetic shapes and writes it as ONNX.

usage: train.py GENERATOR OUT SECONDS [TRAIN_IMAGES]

GENERATOR is the folder of `shapes.py`, which draws the scenes. A small convolutional network of the usual one-stage
form: a backbone of cross-stage blocks with residuals, pooling at three sizes, a feature pyramid up and down, and for
each cell class scores and four distances as distributions over 16 bins. Losses: binary cross-entropy against
task-aligned targets (TOOD, arXiv 2108.07755), CIoU (arXiv 1911.08287), distribution focal loss (arXiv 2006.04388).
"""
import json
import math
import multiprocessing as mp
import os
import sys
import time

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, sys.argv[1])
from shapes import CLASSES, SIZES, scene  # noqa: E402

OUT, SECONDS = sys.argv[2], float(sys.argv[3])
COUNT = int(sys.argv[4]) if len(sys.argv) > 4 else 24000
SIZE, BATCH, BINS, MOST, FILL = 320, 192, 16, 9, 114
STRIDES = (8, 16, 32)


class Conv(nn.Sequential):
    def __init__(self, i, o, k=1, s=1):
        super().__init__(nn.Conv2d(i, o, k, s, k // 2, bias=False), nn.BatchNorm2d(o, momentum=0.03), nn.SiLU())


class Residual(nn.Module):
    def __init__(self, c, add):
        super().__init__()
        self.body, self.add = nn.Sequential(Conv(c, c, 3), Conv(c, c, 3)), add

    def forward(self, x):
        return x + self.body(x) if self.add else self.body(x)


class Stage(nn.Module):
    """Half of the channels pass by; the other half goes through the blocks; every block's result is joined."""

    def __init__(self, i, o, n, add=True):
        super().__init__()
        self.half = o // 2
        self.enter, self.leave = Conv(i, o), Conv(self.half * (2 + n), o)
        self.blocks = nn.ModuleList(Residual(self.half, add) for _ in range(n))

    def forward(self, x):
        parts = list(self.enter(x).split(self.half, 1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class Pool(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.enter, self.leave, self.pool = Conv(c, c // 2), Conv(c * 2, c), nn.MaxPool2d(5, 1, 2)

    def forward(self, x):
        parts = [self.enter(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class Dense(nn.Module):
    def __init__(self, widths=(16, 32, 56, 80, 112)):
        super().__init__()
        w = widths
        self.stem = nn.Sequential(Conv(3, w[0], 3, 2), Conv(w[0], w[1], 3, 2), Stage(w[1], w[1], 1))
        self.s3 = nn.Sequential(Conv(w[1], w[2], 3, 2), Stage(w[2], w[2], 2))
        self.s4 = nn.Sequential(Conv(w[2], w[3], 3, 2), Stage(w[3], w[3], 2))
        self.s5 = nn.Sequential(Conv(w[3], w[4], 3, 2), Stage(w[4], w[4], 1), Pool(w[4]))
        self.up4, self.up3 = Stage(w[4] + w[3], w[3], 1, False), Stage(w[3] + w[2], w[2], 1, False)
        self.down4, self.out4 = Conv(w[2], w[2], 3, 2), Stage(w[2] + w[3], w[3], 1, False)
        self.down5, self.out5 = Conv(w[3], w[3], 3, 2), Stage(w[3] + w[4], w[4], 1, False)
        self.boxes, self.classes = nn.ModuleList(), nn.ModuleList()
        for c, stride in zip(w[2:], STRIDES):
            self.boxes.append(nn.Sequential(Conv(c, 48, 3), Conv(48, 48, 3), nn.Conv2d(48, 4 * BINS, 1)))
            self.classes.append(nn.Sequential(Conv(c, 48, 3), Conv(48, 48, 3), nn.Conv2d(48, len(CLASSES), 1)))
            nn.init.constant_(self.classes[-1][-1].bias, math.log(5 / len(CLASSES) / (SIZE / stride) ** 2))
            nn.init.constant_(self.boxes[-1][-1].bias, 1.0)
        self.register_buffer("bins", torch.arange(BINS, dtype=torch.float32), persistent=False)
        points, strides = [], []
        for stride in STRIDES:
            at = (torch.arange(SIZE // stride) + 0.5) * stride
            y, x = torch.meshgrid(at, at, indexing="ij")
            points.append(torch.stack([x, y]).flatten(1))
            strides.append(torch.full((1, points[-1].shape[1]), float(stride)))
        self.register_buffer("points", torch.cat(points, 1)[None], persistent=False)  # [1, 2, n]
        self.register_buffer("strides", torch.cat(strides, 1)[None], persistent=False)  # [1, 1, n]

    def raw(self, x):
        """Distances as logits `[b, 4 * BINS, n]` and class logits `[b, C, n]`."""
        c3 = self.s3(self.stem(x))
        c4 = self.s4(c3)
        c5 = self.s5(c4)
        p4 = self.up4(torch.cat([F.interpolate(c5, scale_factor=2.0), c4], 1))
        p3 = self.up3(torch.cat([F.interpolate(p4, scale_factor=2.0), c3], 1))
        n4 = self.out4(torch.cat([self.down4(p3), p4], 1))
        n5 = self.out5(torch.cat([self.down5(n4), c5], 1))
        levels = list(zip((p3, n4, n5), self.boxes, self.classes))
        return (torch.cat([box(f).flatten(2) for f, box, _ in levels], 2),
                torch.cat([cls(f).flatten(2) for f, _, cls in levels], 2))

    def corners(self, logits):
        """Boxes in pixels of the input, `[b, 4, n]`: left, top, right, bottom."""
        bins = logits.unflatten(1, (4, BINS)).transpose(1, 2).softmax(1)  # [b, BINS, 4, n]
        far = F.conv2d(bins, self.bins.view(1, BINS, 1, 1)).squeeze(1) * self.strides
        return torch.cat([self.points - far[:, :2], self.points + far[:, 2:]], 1)

    def forward(self, x):
        """`[b, 4 + C, n]`: centre and size in pixels, then class scores."""
        distances, classes = self.raw(x)
        corners = self.corners(distances)
        low, high = corners[:, :2], corners[:, 2:]
        return torch.cat([(low + high) / 2, high - low, classes.sigmoid()], 1)


def iou(a, b, complete=False):
    """IoU, or CIoU, of boxes `[..., 4]` of corners."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    common = (high - low).clamp(min=0).prod(-1)
    sides = [(box[..., 2:] - box[..., :2]).clamp(min=1e-3) for box in (a, b)]
    overlap = common / (sides[0].prod(-1) + sides[1].prod(-1) - common).clamp(min=1e-6)
    if not complete:
        return overlap
    around = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    apart = (((a[..., :2] + a[..., 2:]) - (b[..., :2] + b[..., 2:])) / 2).square().sum(-1)
    aspect = [torch.atan(side[..., 0] / side[..., 1]) for side in sides]
    v = 4 / math.pi**2 * (aspect[1] - aspect[0]).square()
    with torch.no_grad():
        weight = v / (1 - overlap + v).clamp(min=1e-6)
    return overlap - apart / around.square().sum(-1).clamp(min=1e-6) - weight * v


@torch.no_grad()
def assign(scores, boxes, points, truth, labels, valid, top=10):
    """Which cell answers for which object. scores `[b, n, C]`, boxes `[b, n, 4]`, truth `[b, m, 4]`.
    Gives the object of each cell `[b, n]` and the target of its class score, 0 where it answers for none."""
    inside = ((points[None, None] > truth[:, :, None, :2]) & (points[None, None] < truth[:, :, None, 2:])).all(-1)
    overlap = iou(truth[:, :, None], boxes[:, None]).clamp(0)  # [b, m, n]
    of_class = scores.transpose(1, 2).gather(1, labels[:, :, None].expand(-1, -1, scores.shape[1]))
    fit = of_class.sqrt() * overlap.pow(6) * inside * valid[:, :, None]
    best = fit.topk(top, -1)
    chosen = torch.zeros_like(fit).scatter_(-1, best.indices, (best.values > 1e-12).float())
    # A cell that several objects chose answers for the one that it overlaps most.
    owner = (overlap * chosen + chosen * 1e-9).argmax(1)  # [b, n]
    is_owner = F.one_hot(owner, fit.shape[1]).transpose(1, 2) * chosen
    fit = fit * is_owner
    most = fit.amax(-1, keepdim=True).clamp(min=1e-12)
    target = (fit / most * (overlap * is_owner).amax(-1, keepdim=True)).amax(1)
    return owner, target


def loss(model, distances, classes, truth, labels, valid):
    corners = model.corners(distances).transpose(1, 2)
    points, strides = model.points[0].t(), model.strides[0].t()
    owner, target = assign(classes.transpose(1, 2).sigmoid(), corners, points, truth, labels, valid)
    wanted = torch.zeros_like(classes).scatter_(1, labels.gather(1, owner)[:, None], target[:, None])
    total = target.sum().clamp(min=1)
    by_class = F.binary_cross_entropy_with_logits(classes, wanted, reduction="sum") / total
    on = target > 0
    weight = target[on]
    boxes = truth.gather(1, owner[..., None].expand(-1, -1, 4))
    by_box = ((1 - iou(corners[on], boxes[on], True)) * weight).sum() / total
    far = torch.cat([points[None] - boxes[..., :2], boxes[..., 2:] - points[None]], -1) / strides[None]
    far = far[on].clamp(0, BINS - 1.01)
    logits = distances.unflatten(1, (4, BINS)).permute(0, 3, 1, 2)[on].flatten(0, 1)
    low = far.flatten().long()
    part = far.flatten() - low
    by_bin = F.cross_entropy(logits, low, reduction="none") * (1 - part)
    by_bin = by_bin + F.cross_entropy(logits, low + 1, reduction="none") * part
    by_bin = (by_bin.view(-1, 4).mean(1) * weight).sum() / total
    return 0.5 * by_class + 7.5 * by_box + 1.5 * by_bin


def letterboxed(image):
    """The image in the middle of a square, and how it got there."""
    h, w = image.shape[:2]
    ratio = min(SIZE / w, SIZE / h)
    nw, nh = round(w * ratio), round(h * ratio)
    left, top = (SIZE - nw) // 2, (SIZE - nh) // 2
    canvas = np.full((SIZE, SIZE, 3), FILL, np.uint8)
    canvas[top:top + nh, left:left + nw] = cv2.resize(image, (nw, nh), interpolation=cv2.INTER_LINEAR)
    return canvas, ratio, left, top


def one(seed):
    rng = np.random.default_rng(seed)
    w, h = SIZES[int(rng.integers(len(SIZES)))]
    image, boxes, labels = scene(rng, w, h)
    canvas, ratio, left, top = letterboxed(image)
    boxes = boxes * ratio + np.array([left, top, left, top], np.float32)
    return canvas, boxes.astype(np.float32), labels


def dataset(device):
    with mp.get_context("spawn").Pool(os.cpu_count()) as pool:
        data = pool.map(one, range(2_000_000, 2_000_000 + COUNT), chunksize=64)
    images = torch.from_numpy(np.stack([d[0] for d in data])).to(device)
    truth, labels, valid = torch.zeros(COUNT, MOST, 4), torch.zeros(COUNT, MOST, dtype=torch.long), torch.zeros(COUNT, MOST)
    for at, (_, boxes, classes) in enumerate(data):
        truth[at, :len(boxes)], labels[at, :len(boxes)] = torch.from_numpy(boxes), torch.from_numpy(classes)
        valid[at, :len(boxes)] = 1
    return images, truth.to(device), labels.to(device), valid.to(device)


def augmented(images, truth):
    x = images.permute(0, 3, 1, 2).float() / 255
    b = len(x)
    x = (x * (1 + 0.3 * (torch.rand(b, 3, 1, 1, device=x.device) - 0.5))).clamp(0, 1)
    truth = truth.clone()
    flip, flop = torch.rand(b, device=x.device) < 0.5, torch.rand(b, device=x.device) < 0.5
    x = torch.where(flip[:, None, None, None], x.flip(3), x)
    x = torch.where(flop[:, None, None, None], x.flip(2), x)
    truth[flip] = torch.stack([SIZE - truth[flip][..., 2], truth[flip][..., 1], SIZE - truth[flip][..., 0], truth[flip][..., 3]], -1)
    truth[flop] = torch.stack([truth[flop][..., 0], SIZE - truth[flop][..., 3], truth[flop][..., 2], SIZE - truth[flop][..., 1]], -1)
    return x, truth


def description():
    return {"schema": 1, "architecture": "dense", "labels": {str(i): c for i, c in enumerate(CLASSES)},
            "input": {"tensor": "images", "width": SIZE, "height": SIZE, "channels": "rgb",
                      "resize": {"policy": "letterbox", "fill": FILL, "centred": True, "upscale": True},
                      "filter": "bilinear", "antialias": False, "scale": 1 / 255, "mean": [0, 0, 0], "std": [1, 1, 1],
                      "dtype": "float32"},
            "head": {"kind": "dense", "output": "output0", "layout": "channels_first", "objectness": False,
                     "format": "cxcywh_pixels", "activation": {"function": "none"}, "iou": 0.6, "confidence": 0.25}}


def write(model):
    import onnx
    path = f"{OUT}/model.onnx"
    torch.onnx.export(model, torch.zeros(1, 3, SIZE, SIZE), path, input_names=["images"], output_names=["output0"], opset_version=17,
                      dynamic_axes={"images": {0: "batch"}, "output0": {0: "batch"}}, dynamo=False)
    file = onnx.load(path)
    entry = file.metadata_props.add()
    entry.key, entry.value = "sightline.detector", json.dumps(description())
    onnx.save(file, path)


def main():
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
    device = "cuda" if torch.cuda.is_available() else "cpu"
    started = time.time()
    images, truth, labels, valid = dataset(device)
    print("data", COUNT, round(time.time() - started, 1), "s", flush=True)
    model = Dense().to(device).to(memory_format=torch.channels_last)
    print("parameters", sum(p.numel() for p in model.parameters()), flush=True)
    decay, plain = [p for p in model.parameters() if p.ndim > 1], [p for p in model.parameters() if p.ndim <= 1]
    most = 2e-3
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}], lr=most)
    average = {k: v.detach().clone().float() for k, v in model.state_dict().items()}
    started, step = time.time(), 0
    model.train()
    while (used := time.time() - started) < SECONDS:
        for group in optimizer.param_groups:
            group["lr"] = most * min(1, (step + 1) / 500) * (0.01 + 0.495 * (1 + math.cos(math.pi * used / SECONDS)))
        at = torch.randint(COUNT, (BATCH,), device=device)
        x, boxes = augmented(images[at], truth[at])
        with torch.autocast(device, dtype=torch.bfloat16):
            distances, classes = model.raw(x.contiguous(memory_format=torch.channels_last))
        found = loss(model, distances.float(), classes.float(), boxes, labels[at], valid[at])
        optimizer.zero_grad(set_to_none=True)
        found.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        step += 1
        with torch.no_grad():
            now, share = model.state_dict(), 1 - min(0.9998, (1 + step) / (20 + step))
            keys = [k for k in now if now[k].dtype.is_floating_point]
            torch._foreach_lerp_([average[k] for k in keys], [now[k] for k in keys], share)
        if step % 200 == 0:
            print(step, round(used, 1), "s loss", round(float(found), 3), "images/s", round(step * BATCH / used), flush=True)
    model.load_state_dict({k: v.to(model.state_dict()[k].dtype) for k, v in average.items()})
    os.makedirs(OUT, exist_ok=True)
    write(model.eval().cpu().float().to(memory_format=torch.contiguous_format))
    print("steps", step, "written", os.path.getsize(f"{OUT}/model.onnx"), flush=True)


if __name__ == "__main__":
    main()

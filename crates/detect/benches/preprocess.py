"""The same work as benches/preprocess.rs with PIL and the transformers processors: preprocess.py"""
import io, os, pathlib, sys, time, warnings
import numpy as np, PIL, torch, transformers as tf
from PIL import Image

warnings.filterwarnings("ignore")
tf.logging.set_verbosity_error()
threads = int(os.environ.get("THREADS", "1"))
torch.set_num_threads(threads)
raw = (pathlib.Path(__file__).parent / "../tests/fixtures/preprocess/000085.jpg").read_bytes()
picture = Image.open(io.BytesIO(raw)).convert("RGB")


def measure(name, run, per_run=1, n=40):
    for _ in range(3):
        run()
    times = []
    for _ in range(n):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3 / per_run)
    times.sort()
    print(f"{name:<52} median {times[n // 2]:7.3f} ms  min {times[0]:7.3f} ms  n {n}", flush=True)


def decode():
    return Image.open(io.BytesIO(raw)).convert("RGB")


def letterbox(im):
    canvas = Image.new("RGB", (640, 640), (114, 114, 114))
    canvas.paste(im.resize((640, 360), Image.BILINEAR), (0, 140))
    return np.ascontiguousarray(np.asarray(canvas).transpose(2, 0, 1)).astype(np.float32)[None] / 255


print(f"PIL {PIL.__version__}, transformers {tf.__version__}, torch {torch.__version__} (torch threads: {threads})")
measure("PIL JPEG 960x540 decode", decode)
options = dict(size={"height": 640, "width": 640}, do_normalize=False, do_pad=False)
for name in ("RTDetrImageProcessor", "RTDetrImageProcessorPil"):
    p = getattr(tf, name)(**options)
    measure(f"{name} stretch 640", lambda: p(images=picture, return_tensors="pt"))
    measure(f"JPEG to tensor, {name}", lambda: p(images=decode(), return_tensors="pt"))
measure("PIL + numpy letterbox 640", lambda: letterbox(picture))
p = tf.RTDetrImageProcessor(**options)
measure("RTDetrImageProcessor stretch 640, batch of 16", lambda: p(images=[picture] * 16, return_tensors="pt"), 16, 10)

o = type("O", (), dict(logits=torch.rand(1, 300, 80) * 10 - 9, pred_boxes=torch.rand(1, 300, 4)))
for threshold in (0.5, 0.001):
    measure(f"post_process_object_detection 300 x 80 at {threshold}", lambda: p.post_process_object_detection(o, threshold=threshold, target_sizes=[(540, 960)]))

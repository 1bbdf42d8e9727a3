"""Preprocessing of dense for Triton's DALI backend: encoded images (JPEG, PNG, ...) to the inputs of the network.

Resize, padding and normalisation are those of config/detector.json. Without a GPU everything runs on the CPU.
The server serialises the pipeline by itself; nothing has to be built. Needs DALI 1.30 or newer.
"""
import nvidia.dali as dali
from nvidia.dali import backend, fn, math, types
from nvidia.dali.plugin.triton import autoserialize

WIDTH, HEIGHT = 64, 48
HAS_GPU = getattr(backend, "GetCUDADeviceCount", lambda: 1)() > 0


def number(value):
    return types.Constant(float(value), dtype=types.FLOAT64)


def rounded(value):
    """The nearest whole number, halves to even: above 2^52 a float64 has no fraction."""
    return (value + number(2**52)) - number(2**52)


def integers(*values, dtype=types.INT32):
    return fn.cast(fn.stack(*values), dtype=dtype)


def place(frame_width, frame_height):
    """Width, height, column and row of the resized image: one gain for both sides, the rest is padding."""
    gain = math.min(number(WIDTH) / frame_width, number(HEIGHT) / frame_height)
    width = math.clamp(rounded(frame_width * gain), number(1), number(WIDTH))
    height = math.clamp(rounded(frame_height * gain), number(1), number(HEIGHT))
    return width, height, border(number(WIDTH) - width), border(number(HEIGHT) - height)


def border(free):
    """Half of what is left, the extra line of an odd one right and below."""
    return math.max(rounded(free / number(2) - number(0.1)), number(0))


@autoserialize
@dali.pipeline_def(batch_size=8, num_threads=4, device_id=0 if HAS_GPU else None)
def pipeline():
    encoded = fn.external_source(name="encoded_images", device="cpu", dtype=types.UINT8, ndim=1)
    # Pixels as they are stored: what annotations speak of.
    device = "mixed" if HAS_GPU else "cpu"
    image = fn.decoders.image(encoded, device=device, output_type=types.RGB, adjust_orientation=False)
    shape = image.shape(dtype=types.INT64)
    frame_height = fn.cast(shape[0], dtype=types.FLOAT64)
    frame_width = fn.cast(shape[1], dtype=types.FLOAT64)
    width, height, left, top = place(frame_width, frame_height)
    size = fn.cast(fn.stack(height, width), dtype=types.FLOAT)
    image = fn.resize(image, size=size, interp_type=types.INTERP_LINEAR, antialias=True)
    start = integers(number(0) - top, number(0) - left)
    image = fn.slice(image, start=start, shape=[HEIGHT, WIDTH], axes=(0, 1), out_of_bounds_policy="pad", fill_values=114)
    pixels = fn.crop_mirror_normalize(
        image,
        dtype=types.FLOAT,
        output_layout="CHW",
        mean=[0.0, 0.0, 0.0],
        std=[254.9999849195601, 254.9999849195601, 254.9999849195601],
    )
    frame_size = integers(frame_width, frame_height, dtype=types.INT64)
    return pixels, frame_size

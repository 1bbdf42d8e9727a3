//! Raw frames as floats, and their size.

use graph::{Builder, DataType, Dim, Value};

use super::whole;
use crate::frames::ToRgb;
use crate::{ChannelOrder, Frames, ImageInput};

/// Frames in `float32`, with values 0–255.
pub(super) struct FrameImage {
    /// `[batch, 1, height, width × 3]` when the colours of a pixel lie together, else `[batch, 3, height, width]`.
    pub(super) pixels: Value,
    pub(super) together: bool,
    /// `int32` scalars.
    pub(super) size: Size,
    /// Whether the colours still have to be reversed to be in the order of the network's input.
    pub(super) reversed: bool,
    /// The tensor of frames, whose first dimension is the batch.
    pub(super) frames: Value,
}

/// Width and height, `int32` scalars.
pub(super) struct Size {
    pub(super) width: Value,
    pub(super) height: Value,
}

/// A symbol that no network has for a size of its own.
pub(super) fn symbol(name: &str) -> Dim {
    Dim::Symbol(format!("frame_{name}"))
}

/// Declares the frames under these names.
pub(super) fn open(
    b: &mut Builder,
    input: &ImageInput,
    tensor: &str,
    frames: &Frames,
    batch: &Dim,
) -> FrameImage {
    let (height, width) = (symbol("height"), symbol("width"));
    match frames {
        Frames::Rgb | Frames::Bgr => {
            let shape = vec![batch.clone(), height.clone(), width, 3.into()];
            let raw = b.input(tensor, DataType::U8, shape);
            let size = size(b, &raw);
            let pixels = b.cast(&raw, DataType::F32);
            // Two sizes are only known when the graph runs: `-1` stands for their product.
            let rows = b.reshape_to(&pixels, &[0, 0, -1], vec![batch.clone(), height, symbol("row")]);
            let own = if *frames == Frames::Rgb { ChannelOrder::Rgb } else { ChannelOrder::Bgr };
            FrameImage {
                pixels: b.unsqueeze(&rows, &[1]),
                together: true,
                size,
                reversed: own != input.channels,
                frames: raw,
            }
        }
        Frames::Nv12 { uv, matrix } => {
            let raw = b.input(tensor, DataType::U8, vec![batch.clone(), height, width]);
            let half = vec![batch.clone(), symbol("half_height"), symbol("half_width"), 2.into()];
            let colour = b.input(uv, DataType::U8, half);
            let size = size(b, &raw);
            let pixels = planes(b, &raw, &colour, &size, &ToRgb::new(*matrix), input.channels);
            FrameImage { pixels, together: false, size, reversed: false, frames: raw }
        }
    }
}

fn size(b: &mut Builder, frames: &Value) -> Size {
    let shape = b.shape_of(frames);
    let mut at = |axis: i32| {
        let axis = b.whole(axis, DataType::I64);
        let size = b.gather(&shape, &axis, 0);
        b.cast(&size, DataType::I32)
    };
    Size { height: at(1), width: at(2) }
}

/// Red, green and blue planes of NV12, in the order of the network's input, rounded to bytes.
fn planes(
    b: &mut Builder,
    light: &Value,
    colour: &Value,
    size: &Size,
    to_rgb: &ToRgb,
    channels: ChannelOrder,
) -> Value {
    let colour = b.cast(colour, DataType::F32);
    let centre = b.scalar(128.0);
    let mut colour = b.sub(&colour, &centre);
    let two = whole(b, 2);
    for (axis, count, name) in [(1, &size.height, "height"), (2, &size.width, "width")] {
        let position = b.range(count, symbol(name));
        let half = b.div(&position, &two);
        colour = b.gather(&colour, &half, axis);
    }
    let mut part = |at: usize| {
        let part = b.take(&colour, &[at], 3);
        b.squeeze(&part, 3)
    };
    let (cb, cr) = (part(0), part(1));
    let (black, gain) = (b.scalar(16.0), b.scalar(to_rgb.light));
    let light = b.cast(light, DataType::F32);
    let light = b.sub(&light, &black);
    let light = b.mul(&light, &gain);
    let plus = |b: &mut Builder, sum: &Value, part: &Value, factor: f32| {
        let factor = b.scalar(factor);
        let part = b.mul(part, &factor);
        b.add(sum, &part)
    };
    let red = plus(b, &light, &cr, to_rgb.red);
    let green = plus(b, &light, &cb, to_rgb.green.0);
    let green = plus(b, &green, &cr, to_rgb.green.1);
    let blue = plus(b, &light, &cb, to_rgb.blue);
    let order = match channels {
        ChannelOrder::Rgb => [red, green, blue],
        ChannelOrder::Bgr => [blue, green, red],
    };
    let order = order.map(|plane| b.unsqueeze(&plane, &[1]));
    let all = b.concat(&[&order[0], &order[1], &order[2]], 1);
    let half = b.scalar(0.5);
    let all = b.add(&all, &half);
    let all = b.clip(&all, 0.0, 255.0);
    b.floor(&all)
}

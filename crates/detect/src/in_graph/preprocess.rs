//! Preprocessing in front of a network, and its boxes in pixels of the frame behind it.

use graph::{Builder, DataType, Dim, Model, Value};

use super::boxes::{self, Vectors};
use super::image::{self, FrameImage};
use super::place::{Place, covered, place};
use super::resample::{resample, to_bytes};
use super::taps::taps;
use super::{PREPROCESSING, PRODUCER, builder, refused};
use crate::{BoxFormat, Detector, ElementType, Error, Frames, ImageInput, PixelMask, Resize};

/// The model that takes raw frames of any size, and its description: resize, colours, scale, mean and deviation are those of
/// `detector`, and boxes come out in pixels of the frame, under the names that they had.
///
/// The resized picture has the bytes that [`crate::preprocess`] makes, with these exceptions: the weights of
/// [`crate::Filter::Hamming`], [`crate::Filter::Bicubic`] and [`crate::Filter::Lanczos`] are computed in single precision,
/// so that a pixel in a thousand may be a level off; [`crate::Filter::Nearest`] and [`crate::Filter::Box`] may take another
/// pixel where a position falls exactly between two; and a letterboxed side that falls exactly between two lengths may be one pixel longer or
/// shorter.
///
/// # Errors
/// [`Error::InGraph`] for a graph of another operator set than 16 to 22, for [`Resize::ShortestEdge`], for a graph that
/// takes raw frames already or does not fit its description; [`Error::Graph`].
pub fn preprocess_in_graph(
    model: Model,
    detector: &Detector,
    frames: Frames,
) -> Result<(Model, Detector), Error> {
    detector.validate()?;
    let input = &detector.input;
    if input.frames.is_some() {
        return Err(refused(PREPROCESSING, "it is there already"));
    }
    let batch = batch(&model, input)?;
    let format = detector.head.format();
    let taken = |name: &str| model.graph.inputs.iter().any(|input| input.name == name);
    let mut tensor = frames.tensor().to_owned();
    while taken(&tensor) {
        tensor.insert_str(0, "raw_");
    }
    let mut described = Detector {
        input: ImageInput { tensor, mask: None, image_size: None, frames: Some(frames), ..input.clone() },
        head: boxes::in_frame(&detector.head),
        ..detector.clone()
    };
    let (front, vectors) = front(&model, input, &described.input, &batch, format)?;
    let fed: Vec<(&str, &str)> = inputs(input).map(|name| (name, name)).collect();
    // Boxes that are in pixels of the frame already only needed its size.
    let mut joined = if let Some(vectors) = vectors {
        let (back, pairs) = boxes::to_frame(&model, &detector.head, vectors)?;
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
        model.fed_by(front, &fed)?.followed_by(back, &pairs)?
    } else {
        model.fed_by(front, &fed)?
    };
    described.schema = Detector::SCHEMA;
    described.validate()?;
    joined.metadata.insert(Detector::METADATA_KEY.into(), described.to_json());
    Ok((joined, described))
}

/// The inputs of the network that are computed.
fn inputs(input: &ImageInput) -> impl Iterator<Item = &str> {
    let more = input.mask.iter().map(|mask| mask.tensor.as_str()).chain(input.image_size.as_deref());
    std::iter::once(input.tensor.as_str()).chain(more)
}

/// The batch of the network's image input, whose shape has to be the description's.
fn batch(model: &Model, input: &ImageInput) -> Result<Dim, Error> {
    let info = model.graph.inputs.iter().find(|info| info.name == input.tensor);
    let info = info.ok_or_else(|| refused(PREPROCESSING, format!("there is no input `{}`", input.tensor)))?;
    let element = element(input.dtype);
    let sizes = [None, Some(3), Some(input.height as usize), Some(input.width as usize)];
    let fits = |dims: &Vec<Dim>| {
        let same = |(dim, size): (&Dim, &Option<usize>)| {
            dim.fixed().is_none() || size.is_none() || dim.fixed() == *size
        };
        dims.len() == 4 && dims.iter().zip(&sizes).all(same)
    };
    if info.dtype.is_some_and(|dtype| dtype != element) || !info.shape.as_ref().is_none_or(fits) {
        let reason = format!(
            "input {info} is not the described {element} [batch, 3, {}, {}]",
            input.height, input.width
        );
        return Err(refused(PREPROCESSING, reason));
    }
    match info.shape.as_ref().and_then(|dims| dims.first()) {
        Some(Dim::Unknown) | None => Ok(Dim::batch()),
        Some(dim) => Ok(dim.clone()),
    }
}

fn element(dtype: ElementType) -> DataType {
    match dtype {
        ElementType::F32 => DataType::F32,
        ElementType::F16 => DataType::F16,
        ElementType::U8 => DataType::U8,
    }
}

/// The graph from frames to the network's inputs; with the vectors of the way back, unless boxes need none.
fn front(
    model: &Model,
    network: &ImageInput,
    described: &ImageInput,
    batch: &Dim,
    format: BoxFormat,
) -> Result<(Model, Option<Vectors>), Error> {
    let mut b = builder(model, "frames", PREPROCESSING)?;
    let Some(frames) = &described.frames else {
        return Err(refused(PREPROCESSING, "no layout of frames was given"));
    };
    let image = b.scoped("frames", |b| image::open(b, network, &described.tensor, frames, batch));
    let place = b.scoped("frames", |b| place(b, network, &image.size, format))?;
    let pixels = b.scoped("frames", |b| {
        let pixels = resized(b, network, &image, &place);
        finished(b, network, &pixels, &place)
    });
    b.output(&network.tensor, &pixels);
    if let Some(mask) = &network.mask {
        let mask_value = b.scoped("frames", |b| pixel_mask(b, mask, &place, &image.frames));
        b.output(&mask.tensor, &mask_value);
    }
    if let Some(name) = &network.image_size {
        let size = b.scoped("frames", |b| {
            let (width, height) =
                (b.unsqueeze(&image.size.width, &[0]), b.unsqueeze(&image.size.height, &[0]));
            let size = b.concat(&[&width, &height], 0);
            let size = b.cast(&size, DataType::I64);
            let size = b.unsqueeze(&size, &[0]);
            b.expand_batch(&size, &image.frames)
        });
        b.output(name, &size);
    }
    if format == BoxFormat::XyxyOriginal {
        return Ok((b.finish(PRODUCER, "")?, None));
    }
    let way = &place.way_back;
    let vectors = Vectors { before: way.before.is_some(), after: way.after.is_some() };
    let all = [
        (boxes::BEFORE, way.before.as_ref()),
        (boxes::FACTOR, Some(&way.factor)),
        (boxes::AFTER, way.after.as_ref()),
    ];
    for (name, value) in all {
        if let Some(value) = value {
            b.output(name, value);
        }
    }
    Ok((b.finish(PRODUCER, "")?, Some(vectors)))
}

/// The picture in the network's size, bytes as floats: `[batch, 3, height, width]` in the network's order of colours.
fn resized(b: &mut Builder, input: &ImageInput, image: &FrameImage, place: &Place) -> Value {
    let rows = b.scoped("rows", |b| taps(b, input, &place.rows));
    let columns = b.scoped("columns", |b| taps(b, input, &place.columns));
    // Rows first, as the code around the graph: bytes are rounded in between.
    let picture = b.scoped("rows", |b| resample(b, &image.pixels, &rows));
    let batch = picture.shape().first().cloned().unwrap_or_else(Dim::batch);
    let turned = if image.together {
        let shape = vec![batch, place.rows.target.into(), image::symbol("width"), 3.into()];
        let pixels = b.reshape_to(&picture, &[0, place.rows.target as i64, -1, 3], shape);
        b.transpose(&pixels, &[0, 3, 2, 1])
    } else {
        b.transpose(&picture, &[0, 1, 3, 2])
    };
    let picture = b.scoped("columns", |b| {
        let picture = resample(b, &turned, &columns);
        to_bytes(b, &picture, &columns)
    });
    let picture = b.transpose(&picture, &[0, 1, 3, 2]);
    if image.reversed { b.take(&picture, &[2, 1, 0], 1) } else { picture }
}

/// Padding, scale, mean, deviation and element type.
#[expect(clippy::float_cmp, reason = "only the exact identity needs no node")]
fn finished(b: &mut Builder, input: &ImageInput, pixels: &Value, place: &Place) -> Value {
    let mut x = pixels.clone();
    if let Resize::Letterbox { fill, .. } = input.resize
        && let Some(covered) = covered(b, place, (place.rows.target, place.columns.target))
    {
        let fill = b.scalar(f32::from(fill));
        x = b.select(&covered, &x, &fill);
    }
    if input.scale != 1.0 {
        let scale = b.scalar(input.scale);
        x = b.mul(&x, &scale);
    }
    if input.mean != [0.0; 3] {
        let mean = b.floats(&[3, 1, 1], input.mean.to_vec());
        x = b.sub(&x, &mean);
    }
    if input.std != [1.0; 3] {
        let std = b.floats(&[3, 1, 1], input.std.to_vec());
        x = b.div(&x, &std);
    }
    b.cast(&x, element(input.dtype))
}

/// 1 on the picture, 0 on the padding.
fn pixel_mask(b: &mut Builder, mask: &PixelMask, place: &Place, frames: &Value) -> Value {
    let (height, width) = (mask.height as usize, mask.width as usize);
    let one = match covered(b, place, (height, width)) {
        Some(covered) => b.cast(&covered, DataType::I64),
        None => b.integers(&[1, height, width], vec![1; height * width]),
    };
    b.expand_batch(&one, frames)
}

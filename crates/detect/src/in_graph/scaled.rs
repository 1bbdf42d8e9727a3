//! A network behind a scaler: video pipelines (`DeepStream`, Isaac ROS) hand over frames that they have resized.
//!
//! Such a stage resizes, pads with black, and knows one scale and one mean a channel; at most. What a detector wants beyond
//! that moves into its graph. Frames of one pipeline are all of one size, so everything that depends on the size becomes a
//! constant: padding of any colour, the mask of what is padding, the size of the image, and the way of the boxes back.

use graph::{DataType, Dim, Model};

use super::boxes::{self, Vectors};
use super::preprocess::{batch, element, normalized};
use super::{PRODUCER, builder, refused};
use crate::preprocess::mask_tensor;
use crate::{BoxFormat, Detector, ElementType, Error, Geometry, Head, ImageInput, Resize};

/// What is put into a graph, in errors.
const SCALED: &str = "the rest of preprocessing";

/// How a detector is put behind a scaler.
#[derive(Debug, Clone)]
pub struct Scaled {
    source: Detector,
    described: Detector,
    /// Where a frame lies in the network's input; `None` when the scaler puts it there for frames of any size.
    place: Option<Geometry>,
}

impl Scaled {
    /// For frames of this width and height: the scaled picture goes in as floats 0–255, in the network's order of colours.
    ///
    /// Stretching, and padding with black of frames that may be enlarged, stay the scaler's, so that frames of any size go.
    ///
    /// # Errors
    /// [`Error::InGraph`] for an empty frame, for graphs that take raw frames, and for those that take bytes, which no
    /// scaler gives; those of [`Detector::validate`].
    pub fn new(detector: &Detector, frame: (u32, u32)) -> Result<Self, Error> {
        detector.validate()?;
        let input = &detector.input;
        if input.frames.is_some() {
            return Err(refused(SCALED, "the graph takes raw frames and scales them itself"));
        }
        if input.dtype == ElementType::U8 {
            return Err(refused(SCALED, "the graph takes bytes, a scaler gives floats"));
        }
        if frame.0 == 0 || frame.1 == 0 {
            return Err(refused(SCALED, format!("a frame of {}x{} pixels", frame.0, frame.1)));
        }
        let place = (!is_any_size(detector)).then(|| Geometry::new(input, frame));
        let (width, height) = place.map_or((input.width, input.height), |place| place.resized);
        let described = Detector {
            input: ImageInput {
                tensor: free_name(detector),
                width,
                height,
                resize: if place.is_some() { Resize::Stretch } else { input.resize },
                scale: 1.0,
                mean: [0.0; 3],
                std: [1.0; 3],
                dtype: ElementType::F32,
                mask: None,
                image_size: None,
                ..input.clone()
            },
            head: match &place {
                Some(place) if moves_boxes(place, &detector.head) => {
                    let is_centred = is_centred(detector.head.format());
                    let format = if is_centred { BoxFormat::CxcywhPixels } else { BoxFormat::XyxyPixels };
                    boxes::with_format(&detector.head, format)
                }
                _ => detector.head.clone(),
            },
            ..detector.clone()
        };
        described.validate()?;
        Ok(Self { source: detector.clone(), described, place })
    }

    /// The description of what [`Scaled::model`] makes: the scaler's part of preprocessing, and boxes in pixels of what goes
    /// in where the network's were not relative to it.
    pub fn described(&self) -> &Detector {
        &self.described
    }

    /// Whether it is right only for frames of the given size.
    pub fn is_for_one_size(&self) -> bool {
        self.place.is_some()
    }

    /// The model that takes what the scaler leaves.
    ///
    /// # Errors
    /// [`Error::InGraph`] for a graph of another operator set than 16 to 22, or one that does not fit the description;
    /// [`Error::Graph`].
    pub fn model(&self, model: Model) -> Result<Model, Error> {
        let input = &self.source.input;
        let batch = batch(&model, input)?;
        let (front, vectors) = self.front(&model, &batch)?;
        let fed: Vec<(&str, &str)> = network_inputs(input).map(|name| (name, name)).collect();
        let mut joined = if let Some(vectors) = vectors {
            let (back, pairs) = boxes::moved(&model, &self.source.head, vectors, false)?;
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            model.fed_by(front, &fed)?.followed_by(back, &pairs)?
        } else {
            model.fed_by(front, &fed)?
        };
        joined.metadata.insert(Detector::METADATA_KEY.into(), self.described.to_json());
        Ok(joined)
    }

    /// From the scaled picture to the network's inputs; with the vectors of the boxes' way, where they move.
    fn front(&self, model: &Model, batch: &Dim) -> Result<(Model, Option<Vectors>), Error> {
        let (input, described) = (&self.source.input, &self.described.input);
        let mut b = builder(model, "scaled", SCALED)?;
        let shape = vec![
            batch.clone(),
            3.into(),
            (described.height as usize).into(),
            (described.width as usize).into(),
        ];
        let scaled = b.input(&described.tensor, DataType::F32, shape);
        let pixels = b.scoped("scaled", |b| {
            let mut x = scaled.clone();
            let border = self.place.map(|place| border(&place));
            // Padding of a letterbox is a colour and normalised with the picture, that of the shortest edge is not.
            if let (Some([vertical, horizontal]), Resize::Letterbox { fill, .. }) = (border, input.resize) {
                x = b.pad_with(&x, 2, vertical.0, vertical.1, f32::from(fill));
                x = b.pad_with(&x, 3, horizontal.0, horizontal.1, f32::from(fill));
            }
            x = normalized(b, input, &x);
            if let (Some([vertical, horizontal]), Resize::ShortestEdge { .. }) = (border, input.resize) {
                x = b.pad(&x, 2, vertical.0, vertical.1);
                x = b.pad(&x, 3, horizontal.0, horizontal.1);
            }
            b.cast(&x, element(input.dtype))
        });
        b.output(&input.tensor, &pixels);
        if let Some(mask) = &input.mask {
            let place = self.place.unwrap_or_else(|| Geometry::new(input, (input.width, input.height)));
            let ones = b.constant(mask_tensor(mask, &[place])?);
            let ones = b.expand_batch(&ones, &scaled);
            b.output(&mask.tensor, &ones);
        }
        let Some(place) = &self.place else { return Ok((b.finish(PRODUCER, "")?, None)) };
        if let Some(name) = &input.image_size {
            let size = b.integers(&[1, 2], vec![i64::from(place.original.0), i64::from(place.original.1)]);
            let size = b.expand_batch(&size, &scaled);
            b.output(name, &size);
        }
        if !moves_boxes(place, &self.source.head) {
            return Ok((b.finish(PRODUCER, "")?, None));
        }
        let way = way_in(place, self.source.head.format());
        let vectors = Vectors { before: way.before.is_some(), after: way.after.is_some() };
        // A size is not shifted.
        let second = if is_centred(self.source.head.format()) { 0.0 } else { 1.0 };
        let all = [
            (boxes::BEFORE, way.before, second),
            (boxes::FACTOR, Some(way.factor), 1.0),
            (boxes::AFTER, way.after, second),
        ];
        for (name, pair, second) in all {
            if let Some((x, y)) = pair {
                let vector = b.floats(&[4], vec![x, y, x * second, y * second]);
                b.output(name, &vector);
            }
        }
        Ok((b.finish(PRODUCER, "")?, Some(vectors)))
    }
}

/// Whether a scaler puts frames of any size where the network wants them, with boxes relative to what it gives.
fn is_any_size(detector: &Detector) -> bool {
    let input = &detector.input;
    let scales = match input.resize {
        Resize::Stretch => true,
        // A mask says where the padding is, and that depends on the frame.
        Resize::Letterbox { fill: 0, upscale: true, .. } => input.mask.is_none(),
        Resize::Letterbox { .. } | Resize::ShortestEdge { .. } => false,
    };
    scales && input.image_size.is_none() && detector.head.format() != BoxFormat::XyxyOriginal
}

/// Whether the network's boxes are relative to something else than the picture that goes in.
fn moves_boxes(place: &Geometry, head: &Head) -> bool {
    place.resized != place.input || head.format() == BoxFormat::XyxyOriginal
}

/// Whether boxes are centre and size.
fn is_centred(format: BoxFormat) -> bool {
    matches!(format, BoxFormat::CxcywhNormalized | BoxFormat::CxcywhPixels)
}

/// Lines above and below the picture, columns left and right of it.
fn border(place: &Geometry) -> [(usize, usize); 2] {
    let around = |offset: u32, inner: u32, whole: u32| (offset as usize, (whole - offset - inner) as usize);
    [
        around(place.offset.1, place.resized.1, place.input.1),
        around(place.offset.0, place.resized.0, place.input.0),
    ]
}

/// `(box - before) * factor - after`, each for x and y.
struct WayIn {
    before: Option<(f32, f32)>,
    factor: (f32, f32),
    after: Option<(f32, f32)>,
}

/// From the network's boxes to pixels of the picture that goes in: to the frame as its description says, and from there as
/// the scaler does.
fn way_in(place: &Geometry, format: BoxFormat) -> WayIn {
    let scaler =
        (place.resized.0 as f32 / place.original.0 as f32, place.resized.1 as f32 / place.original.1 as f32);
    let scaled = |(x, y): (f32, f32)| (x * scaler.0, y * scaler.1);
    let offset = (place.offset.0 as f32, place.offset.1 as f32);
    let is_offset = place.offset != (0, 0);
    match format {
        BoxFormat::CxcywhPixels | BoxFormat::XyxyPixels => {
            WayIn { before: is_offset.then_some(offset), factor: scaled(place.per_pixel), after: None }
        }
        BoxFormat::CxcywhNormalized | BoxFormat::XyxyNormalized => {
            let shift = scaled((offset.0 * place.per_pixel.0, offset.1 * place.per_pixel.1));
            WayIn { before: None, factor: scaled(place.per_unit), after: is_offset.then_some(shift) }
        }
        BoxFormat::XyxyOriginal => WayIn { before: None, factor: scaler, after: None },
    }
}

/// The inputs of the network, which are all computed.
fn network_inputs(input: &ImageInput) -> impl Iterator<Item = &str> {
    let more = input.mask.iter().map(|mask| mask.tensor.as_str()).chain(input.image_size.as_deref());
    std::iter::once(input.tensor.as_str()).chain(more)
}

/// A name for what goes in. Not the network's own: a calibration cache holds that one's range, which is another.
fn free_name(detector: &Detector) -> String {
    let mut name = "scaled_frames".to_owned();
    let outputs = detector.head.outputs();
    while network_inputs(&detector.input).chain(outputs.iter().copied()).any(|taken| taken == name) {
        name.insert_str(0, "raw_");
    }
    name
}

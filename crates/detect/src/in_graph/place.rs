//! Where a frame lies in the network's input, computed while the graph runs: `crate::geometry` in nodes.

use graph::{Builder, DataType, Value};

use super::image::Size;
use super::taps::Axis;
use super::{PREPROCESSING, refused, whole, wholes};
use crate::{BoxFormat, Error, ImageInput, Resize};

/// The symbols of the numbers of taps.
const ROW_TAPS: &str = "row_taps";
const COLUMN_TAPS: &str = "column_taps";

/// A frame's place.
pub(super) struct Place {
    pub(super) rows: Axis,
    pub(super) columns: Axis,
    /// How boxes of the network become boxes in pixels of the frame.
    pub(super) way_back: WayBack,
}

/// `(box − before) × factor − after`, all `[4]`.
pub(super) struct WayBack {
    pub(super) before: Option<Value>,
    pub(super) factor: Value,
    pub(super) after: Option<Value>,
}

/// The place of a frame by the policy of the detector. `format` is what the network's boxes are.
pub(super) fn place(
    b: &mut Builder,
    input: &ImageInput,
    size: &Size,
    format: BoxFormat,
) -> Result<Place, Error> {
    let normalized = matches!(format, BoxFormat::CxcywhNormalized | BoxFormat::XyxyNormalized);
    match input.resize {
        Resize::Stretch => Ok(stretch(b, input, size, normalized)),
        Resize::Letterbox { centred, upscale, .. } => {
            Ok(letterbox(b, input, size, normalized, centred, upscale))
        }
        Resize::ShortestEdge { .. } => Err(refused(
            PREPROCESSING,
            "the policy `shortest_edge` gives each frame another size; export the model with `--resize stretch` or `letterbox`",
        )),
    }
}

/// Two numbers for x and y of both corners.
fn twice(b: &mut Builder, pair: &Value) -> Value {
    b.concat(&[pair, pair], 0)
}

/// Width and height as a vector.
fn pair(b: &mut Builder, size: &Size) -> Value {
    let (width, height) = (b.unsqueeze(&size.width, &[0]), b.unsqueeze(&size.height, &[0]));
    b.concat(&[&width, &height], 0)
}

fn target(b: &mut Builder, input: &ImageInput) -> Value {
    wholes(b, &[2], vec![input.width as i32, input.height as i32])
}

fn stretch(b: &mut Builder, input: &ImageInput, size: &Size, normalized: bool) -> Place {
    let mut axis = |source: &Value, length: u32, taps: &'static str| Axis {
        source: source.clone(),
        resized: whole(b, length as i32),
        offset: None,
        target: length as usize,
        taps,
    };
    let (rows, columns) =
        (axis(&size.height, input.height, ROW_TAPS), axis(&size.width, input.width, COLUMN_TAPS));
    let original = pair(b, size);
    let mut factor = b.cast(&original, DataType::F32);
    if !normalized {
        let target = target(b, input);
        let target = b.cast(&target, DataType::F32);
        factor = b.div(&factor, &target);
    }
    let way_back = WayBack { before: None, factor: twice(b, &factor), after: None };
    Place { rows, columns, way_back }
}

/// Both sides are the frame's times a gain `most / length`, rounded with halves to even, where `length` is the side that
/// fills the target.
fn letterbox(
    b: &mut Builder,
    input: &ImageInput,
    size: &Size,
    normalized: bool,
    centred: bool,
    upscale: bool,
) -> Place {
    let (zero, one, two) = (whole(b, 0), whole(b, 1), whole(b, 2));
    let (width, height) = (whole(b, input.width as i32), whole(b, input.height as i32));
    let (across, down) = (b.mul(&width, &size.height), b.mul(&height, &size.width));
    // By the width unless the height is the narrower one.
    let by_height = b.greater(&across, &down);
    let mut most = b.select(&by_height, &height, &width);
    let mut length = b.select(&by_height, &size.height, &size.width);
    if !upscale {
        let small = b.greater(&most, &length);
        most = b.select(&small, &one, &most);
        length = b.select(&small, &one, &length);
    }
    let original = pair(b, size);
    let target = target(b, input);
    let product = b.mul(&original, &most);
    let whole_part = b.div(&product, &length);
    let taken = b.mul(&whole_part, &length);
    let rest = b.sub(&product, &taken);
    let rest = b.mul(&rest, &two);
    let halved = b.div(&whole_part, &two);
    let even = b.mul(&halved, &two);
    let odd = b.sub(&whole_part, &even);
    // Up when the rest is above a half, or is a half and the number is odd.
    let rest = b.add(&rest, &odd);
    let up = b.greater(&rest, &length);
    let up = b.cast(&up, DataType::I32);
    let resized = b.add(&whole_part, &up);
    let resized = b.maximum(&resized, &one);
    let resized = b.minimum(&resized, &target);
    let border = b.sub(&target, &resized);
    let offset = if centred { b.div(&border, &two) } else { b.mul(&border, &zero) };

    let mut scalar = |vector: &Value, at: i32| {
        let at = whole(b, at);
        b.gather(vector, &at, 0)
    };
    let columns = Axis {
        source: size.width.clone(),
        resized: scalar(&resized, 0),
        offset: Some(scalar(&offset, 0)),
        target: input.width as usize,
        taps: COLUMN_TAPS,
    };
    let rows = Axis {
        source: size.height.clone(),
        resized: scalar(&resized, 1),
        offset: Some(scalar(&offset, 1)),
        target: input.height as usize,
        taps: ROW_TAPS,
    };

    // Original pixels for each pixel of the input; as vectors, because the embedded backend divides by a single number
    // inexactly.
    let ones = wholes(b, &[2], vec![1, 1]);
    let (lengths, mosts) = (b.mul(&ones, &length), b.mul(&ones, &most));
    let mosts = b.cast(&mosts, DataType::F32);
    let lengths_f = b.cast(&lengths, DataType::F32);
    let per_pixel = b.div(&lengths_f, &mosts);
    let offset = b.cast(&offset, DataType::F32);
    let way_back = if normalized {
        let span = b.mul(&target, &lengths);
        let span = b.cast(&span, DataType::F32);
        let factor = b.div(&span, &mosts);
        let after = b.mul(&offset, &per_pixel);
        WayBack { before: None, factor: twice(b, &factor), after: Some(twice(b, &after)) }
    } else {
        WayBack { before: Some(twice(b, &offset)), factor: twice(b, &per_pixel), after: None }
    };
    Place { rows, columns, way_back }
}

/// Where the target is covered by the picture, `[1, rows, columns]`, as booleans; `None` when it is everywhere. `sizes` are
/// those of the mask, which may be another one than the target's.
pub(super) fn covered(b: &mut Builder, place: &Place, sizes: (usize, usize)) -> Option<Value> {
    let rows = covered_along(b, &place.rows, sizes.0)?;
    let columns = covered_along(b, &place.columns, sizes.1)?;
    let (rows, columns) = (b.unsqueeze(&rows, &[0, 2]), b.unsqueeze(&columns, &[0, 1]));
    Some(b.and(&rows, &columns))
}

fn covered_along(b: &mut Builder, axis: &Axis, size: usize) -> Option<Value> {
    let offset = axis.offset.as_ref()?;
    let place = |at: usize| (at as u64 * axis.target as u64 / size as u64) as i32;
    let position = wholes(b, &[size], (0..size).map(place).collect());
    let (one, end) = (whole(b, 1), b.add(offset, &axis.resized));
    let before = b.sub(offset, &one);
    let (after_start, before_end) = (b.greater(&position, &before), b.greater(&end, &position));
    Some(b.and(&after_start, &before_end))
}

//! Preprocessing and suppression as part of the graph.
//!
//! Both derive from the same [`Detector`](crate::Detector) as the code around a graph does, and a graph made here gives
//! the same detections as that code. Nodes are plain ONNX operators that ONNX Runtime and TensorRT have; whole numbers stay
//! within 32 bits, because TensorRT before version 10 has no others.
//!
//! ONNX's `Resize` cannot say what an image library does: PIL rounds its weights to 15 bits and the picture to bytes after
//! each direction, and TensorRT's `Resize` does not antialias at all. So the weights are computed in the graph, from the
//! size of the frame, in whole numbers, and each direction is a gathering of rows and a matrix product.

mod boxes;
mod image;
mod place;
mod plugin;
mod preprocess;
mod resample;
mod scaled;
mod suppress;
mod taps;

pub use plugin::PluginCut;
pub use preprocess::preprocess_in_graph;
pub use scaled::Scaled;
pub use suppress::{MOST_ROWS, Suppression, SuppressionForm, suppress_in_graph};

use graph::{Builder, DataType, Dim, Model, Shapes, Tensor, Value};

use crate::{BoxFormat, Error};

/// What is put into a graph, in errors.
const PREPROCESSING: &str = "preprocessing";
const SUPPRESSION: &str = "suppression";

/// The producer of graphs that are joined with another one, whose header stays.
const PRODUCER: &str = "sightline";

fn refused(what: &'static str, reason: impl Into<String>) -> Error {
    Error::InGraph { what, reason: reason.into() }
}

/// A builder for what is joined with this model.
fn builder(model: &Model, name: &str, what: &'static str) -> Result<Builder, Error> {
    let opset = model.opset();
    if !Builder::OPSETS.contains(&opset) {
        let (least, most) = (Builder::OPSETS.start(), Builder::OPSETS.end());
        let reason =
            format!("the graph is of operator set {opset}, {least} to {most} can be extended (`--opset 17`)");
        return Err(refused(what, reason));
    }
    Ok(Builder::new(name, opset))
}

/// A whole number.
fn whole(b: &mut Builder, value: i32) -> Value {
    b.whole(value, DataType::I32)
}

/// Whole numbers of this shape.
fn wholes(b: &mut Builder, shape: &[usize], values: Vec<i32>) -> Value {
    match Tensor::from_i32(shape, values) {
        Ok(tensor) => b.constant(tensor),
        Err(error) => {
            b.fail("Constant", error.to_string());
            b.whole(0, DataType::I32)
        }
    }
}

/// An output of the model that is fed on.
struct Output {
    dtype: DataType,
    /// As many dimensions as the head gives it.
    shape: Vec<Dim>,
}

/// What is known of the model's output `name`: what the file states, then what can be inferred.
fn output(
    model: &Model,
    shapes: &Shapes,
    name: &str,
    rank: usize,
    what: &'static str,
) -> Result<Output, Error> {
    let info = model.graph.outputs.iter().find(|output| output.name == name);
    let info = info.ok_or_else(|| refused(what, format!("the graph has no output `{name}`")))?;
    let stated = info.shape.clone().unwrap_or_else(|| vec![Dim::Unknown; rank]);
    if stated.len() != rank {
        let reason = format!("output {info} has {} dimensions, the head gives it {rank}", stated.len());
        return Err(refused(what, reason));
    }
    let dtype = info.dtype.unwrap_or(DataType::F32);
    let inferred = shapes.of(name).filter(|sizes| sizes.len() == rank);
    let dim = |(at, stated): (usize, Dim)| match (stated, inferred) {
        // The first is the batch, which was set for inferring.
        (Dim::Fixed(size), _) => Dim::Fixed(size),
        (_, Some(sizes)) if at > 0 => Dim::Fixed(sizes[at]),
        (_, _) if at == 0 => Dim::batch(),
        (Dim::Symbol(symbol), _) => Dim::Symbol(symbol),
        (Dim::Unknown, _) => Dim::Symbol(format!("{name}_size_{at}")),
    };
    Ok(Output { dtype, shape: stated.into_iter().enumerate().map(dim).collect() })
}

/// A dimension as a number.
fn fixed(dim: &Dim, what: &'static str, of: &str) -> Result<usize, Error> {
    let size = dim.fixed().filter(|size| *size > 0);
    size.ok_or_else(|| {
        refused(what, format!("{of} is not a known number: simplify the graph first (`--simplify`)"))
    })
}

/// The elements from `start` on along `axis`, however many there are.
fn from(b: &mut Builder, x: &Value, axis: usize, start: usize) -> Value {
    let mut shape = x.shape().to_vec();
    shape[axis] = match shape[axis].fixed() {
        Some(size) if size > start => (size - start).into(),
        Some(size) => {
            b.fail("Slice", format!("{start} and more of {size}"));
            size.into()
        }
        None => Dim::Symbol(format!("{}_from_{start}", x.name())),
    };
    let ends = i64::from(i32::MAX);
    let [starts, ends, axes] = [start as i64, ends, axis as i64].map(|number| b.ints(&[number]));
    b.operator("Slice", &[x, &starts, &ends, &axes], [], x.dtype(), shape)
}

/// Corners `[…, 4]` of boxes `[…, 4]` of a format.
fn corners(b: &mut Builder, boxes: &Value, format: BoxFormat) -> Value {
    if !matches!(format, BoxFormat::CxcywhNormalized | BoxFormat::CxcywhPixels) {
        return boxes.clone();
    }
    let (centre, size) = (b.slice(boxes, -1, 0, 2), b.slice(boxes, -1, 2, 4));
    let half = b.scalar(0.5);
    let half = b.mul(&size, &half);
    let (first, last) = (b.sub(&centre, &half), b.add(&centre, &half));
    b.concat(&[&first, &last], -1)
}

/// What corners of a format are.
fn cornered(format: BoxFormat) -> BoxFormat {
    match format {
        BoxFormat::CxcywhNormalized => BoxFormat::XyxyNormalized,
        BoxFormat::CxcywhPixels => BoxFormat::XyxyPixels,
        other => other,
    }
}

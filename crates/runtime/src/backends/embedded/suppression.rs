//! `NonMaxSuppression` as ONNX specifies it.
//!
//! The library's own operator lets boxes of different images and classes suppress each other, and takes the rectangle around
//! two boxes for their union. It is never run: the graph is run up to here, this is computed, and the graph goes on.

use graph::{DataType, Graph, Node, Tensor};
use rten::Value;

use super::{NAME, convert};
use crate::Error;

/// The operator.
pub(super) const OPERATOR: &str = "NonMaxSuppression";

/// One use of the operator.
#[derive(Debug, Clone)]
pub(super) struct Suppression {
    /// `[batch, n, 4]`.
    boxes: String,
    /// `[batch, classes, n]`.
    scores: String,
    /// Most boxes of a class of an image.
    most: Number,
    /// A box that overlaps a better one by more than this is dropped.
    iou: Number,
    /// A box's score is above this.
    least: Number,
    /// Whether a box is its centre and size; else two corners.
    centred: bool,
    /// `[kept, 3]`: image, class, box.
    pub(super) kept: String,
}

/// An input of one number.
#[derive(Debug, Clone)]
enum Number {
    Absent,
    Known(f32),
    Computed(String),
}

/// What is known of the value `name`: a constant's number, where its file was read.
fn number(graph: &Graph, name: Option<&String>) -> Number {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Number::Absent };
    let made = || graph.nodes.iter().find(|node| node.op_type == "Constant" && node.outputs.contains(name));
    let tensor = graph.initializers.get(name).or_else(|| made()?.tensor("value"));
    let first = tensor.and_then(|tensor| tensor.to_f32().ok()?.first().copied());
    first.map_or_else(|| Number::Computed(name.clone()), Number::Known)
}

impl Suppression {
    /// The node, when it is one. Its constants are looked up in the graph.
    pub(super) fn of(node: &Node, graph: &Graph) -> Option<Self> {
        let is_one = node.op_type == OPERATOR && matches!(node.domain.as_str(), "" | "ai.onnx");
        let [boxes, scores, ..] = node.inputs.as_slice() else { return None };
        let input = |at: usize| number(graph, node.inputs.get(at));
        is_one.then(|| Self {
            boxes: boxes.clone(),
            scores: scores.clone(),
            most: input(2),
            iou: input(3),
            least: input(4),
            centred: node.int("center_point_box").unwrap_or(0) != 0,
            kept: node.outputs.first().cloned().unwrap_or_default(),
        })
    }

    /// The values that it reads.
    pub(super) fn reads(&self) -> impl Iterator<Item = &str> {
        let numbers = [&self.most, &self.iou, &self.least].into_iter().filter_map(|number| match number {
            Number::Computed(name) => Some(name.as_str()),
            Number::Absent | Number::Known(_) => None,
        });
        [self.boxes.as_str(), self.scores.as_str()].into_iter().chain(numbers)
    }

    /// What is kept, class by class, best first, as the library carries it. `value` gives what [`Suppression::reads`] names.
    pub(super) fn run(&self, value: &dyn Fn(&str) -> Result<Value, Error>) -> Result<Value, Error> {
        let tensor = |name: &str| convert::output(name, value(name)?, Some(DataType::F32));
        let (boxes, scores) = (tensor(&self.boxes)?, tensor(&self.scores)?);
        let number = |number: &Number, absent: f32| match number {
            Number::Absent => Ok(absent),
            Number::Known(value) => Ok(*value),
            Number::Computed(name) => {
                let made = convert::output(name, value(name)?, None)?.to_f32()?;
                Ok::<f32, Error>(made.first().copied().unwrap_or(absent))
            }
        };
        let options = Options {
            most: number(&self.most, 0.0)? as usize,
            iou: number(&self.iou, 0.0)?,
            least: number(&self.least, f32::NEG_INFINITY)?,
            centred: self.centred,
        };
        let kept = options.kept(&boxes, &scores)?;
        Value::from_shape(&[kept.len() / 3, 3], kept).map_err(|error| failed(&error.to_string()))
    }
}

fn failed(reason: &str) -> Error {
    Error::Run { backend: NAME, reason: format!("{OPERATOR}: {reason}") }
}

/// The numbers of one use.
struct Options {
    most: usize,
    iou: f32,
    least: f32,
    centred: bool,
}

impl Options {
    /// Image, class and box of each box that stays.
    fn kept(&self, boxes: &Tensor, scores: &Tensor) -> Result<Vec<i32>, Error> {
        let (&[batch, count, 4], &[images, classes, columns]) = (boxes.shape(), scores.shape()) else {
            return Err(failed(&format!("boxes {:?} and scores {:?}", boxes.shape(), scores.shape())));
        };
        if (images, columns) != (batch, count) {
            return Err(failed(&format!("boxes {:?} and scores {:?}", boxes.shape(), scores.shape())));
        }
        let (boxes, scores) = (boxes.as_f32()?, scores.as_f32()?);
        let corners: Vec<Corners> =
            boxes.as_chunks::<4>().0.iter().map(|numbers| self.corners(numbers)).collect();
        let mut kept = Vec::new();
        for (row, scores) in scores.chunks_exact(count.max(1)).enumerate() {
            let (image, class) = (row / classes.max(1), row % classes.max(1));
            for at in self.of_class(&corners[image * count..(image + 1) * count], scores) {
                kept.extend([image as i32, class as i32, at as i32]);
            }
        }
        Ok(kept)
    }

    /// The boxes of one class of one image that stay, best first; of equal scores the first.
    fn of_class(&self, boxes: &[Corners], scores: &[f32]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..boxes.len()).filter(|at| scores[*at] > self.least).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        let mut kept: Vec<usize> = Vec::new();
        for at in order {
            if kept.len() >= self.most {
                break;
            }
            if kept.iter().all(|better| boxes[*better].overlap(&boxes[at]) <= self.iou) {
                kept.push(at);
            }
        }
        kept
    }

    /// Two corners may be any two that lie opposite.
    fn corners(&self, &[a, b, c, d]: &[f32; 4]) -> Corners {
        if self.centred {
            let (half_width, half_height) = (c / 2.0, d / 2.0);
            return Corners([a - half_width, b - half_height, a + half_width, b + half_height]);
        }
        Corners([a.min(c), b.min(d), a.max(c), b.max(d)])
    }
}

/// Least and largest coordinates; which axis comes first does not matter.
#[derive(Debug, Clone, Copy)]
struct Corners([f32; 4]);

impl Corners {
    fn area(&self) -> f32 {
        let [a, b, c, d] = self.0;
        (c - a).max(0.0) * (d - b).max(0.0)
    }

    /// Intersection over union; 0 for boxes without area.
    fn overlap(&self, other: &Self) -> f32 {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        let shared = Self([a.max(e), b.max(f), c.min(g), d.min(h)]).area();
        let union = self.area() + other.area() - shared;
        if union > 0.0 { shared / union } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Box 1 overlaps box 0 by 9/11, box 2 lies apart.
    const BOXES: [f32; 12] = [0.0, 0.0, 10.0, 10.0, 1.0, 0.0, 11.0, 10.0, 50.0, 50.0, 60.0, 60.0];

    fn kept(boxes: &[f32], most: usize, iou: f32, least: f32, centred: bool) -> Vec<i32> {
        let boxes = Tensor::from_f32([1, 3, 4], boxes.to_vec()).unwrap();
        let scores = Tensor::from_f32([1, 2, 3], vec![0.9, 0.8, 0.3, 0.0, 0.7, 0.6]).unwrap();
        Options { most, iou, least, centred }.kept(&boxes, &scores).unwrap()
    }

    #[test]
    fn the_specification_of_onnx() {
        let any = f32::NEG_INFINITY;
        let cases: [(usize, f32, f32, &[i32]); 6] = [
            (9, 0.5, 0.4, &[0, 0, 0, 0, 1, 1, 0, 1, 2]),
            (9, 0.9, 0.4, &[0, 0, 0, 0, 0, 1, 0, 1, 1, 0, 1, 2]),
            (1, 0.9, 0.4, &[0, 0, 0, 0, 1, 1]),
            (0, 0.5, 0.4, &[]),
            // The threshold itself is not above it.
            (9, 0.5, 0.7, &[0, 0, 0]),
            (9, 0.5, any, &[0, 0, 0, 0, 0, 2, 0, 1, 1, 0, 1, 2]),
        ];
        for (most, iou, least, expected) in cases {
            assert_eq!(kept(&BOXES, most, iou, least, false), expected, "{most} {iou} {least}");
        }
        // The same boxes by other corners, and by centre and size.
        let turned = [10.0, 0.0, 0.0, 10.0, 11.0, 10.0, 1.0, 0.0, 50.0, 60.0, 60.0, 50.0];
        let centred = [5.0, 5.0, 10.0, 10.0, 6.0, 5.0, 10.0, 10.0, 55.0, 55.0, 10.0, 10.0];
        assert_eq!(kept(&turned, 9, 0.5, 0.4, false), kept(&BOXES, 9, 0.5, 0.4, false));
        assert_eq!(kept(&centred, 9, 0.5, 0.4, true), kept(&BOXES, 9, 0.5, 0.4, false));
        // 90 of 110.
        assert_eq!(kept(&BOXES, 9, 0.8181, 0.4, false), [0, 0, 0, 0, 1, 1, 0, 1, 2]);
        assert_eq!(kept(&BOXES, 9, 0.8182, 0.4, false), kept(&BOXES, 9, 0.9, 0.4, false));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let boxes = Tensor::from_f32([1, 3, 4], BOXES.to_vec()).unwrap();
        let options = Options { most: 1, iou: 0.5, least: 0.0, centred: false };
        for shape in [vec![1, 1, 2], vec![2, 1, 3], vec![3]] {
            let count = shape.iter().product();
            let scores = Tensor::from_f32(shape, vec![0.5; count]).unwrap();
            assert!(options.kept(&boxes, &scores).is_err());
        }
        assert!(options.kept(&boxes, &Tensor::from_f32([1, 0, 3], vec![]).unwrap()).unwrap().is_empty());
    }
}

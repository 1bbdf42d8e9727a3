//! `Detect`: a box and class scores for every cell of every level.
//!
//! A side of a box is the mean of `reg_max` distances from the middle of the cell, weighted by a softmax, or one number
//! where `reg_max` is 1. The first branch predicts several boxes an object and is suppressed outside the graph; where
//! there is a second one (`one2one_…`: `YOLOv10`, YOLO26) it predicts one, and the best rows are picked in the graph.

use graph::builder::Conv;
use graph::{Builder, DataType, Tensor, Value};

use super::conv::{Folded, convolve};
use super::module::{Fact, Layer};
use super::torch_nn::kernel;
use crate::Error;
use crate::layers::{deferred_floats, floats, widened};

/// Rows that an end-to-end head gives.
pub(super) const LARGEST_COUNT: usize = 300;
/// Most distances of a side.
const MOST_DISTANCES: usize = 1024;

/// What a head is made of.
pub(super) struct Detect<'a> {
    layer: Layer<'a>,
    /// The branches of boxes and of classes.
    branches: [&'static str; 2],
    pub(super) end_to_end: bool,
    pub(super) classes: usize,
    reg_max: usize,
}

/// The cells of all levels.
#[derive(Clone)]
struct Cells {
    /// Height, width and stride of each level.
    levels: Vec<(usize, usize, f32)>,
}

impl<'a> Detect<'a> {
    pub(super) fn new(layer: &Layer<'a>) -> Result<Self, Error> {
        let end_to_end = layer.optional("one2one_cv2").is_some();
        let reg_max = layer.size_or("reg_max", 16)?;
        if !(1..=MOST_DISTANCES).contains(&reg_max) {
            return Err(layer.unusable("reg_max", &format!("1 to {MOST_DISTANCES}")));
        }
        Ok(Self {
            branches: if end_to_end { ["one2one_cv2", "one2one_cv3"] } else { ["cv2", "cv3"] },
            end_to_end,
            classes: layer.divisor("nc")?,
            reg_max,
            layer: layer.clone(),
        })
    }

    /// Whether the graph needs a tensor of this name: those of the other branch and counters it does not.
    pub(super) fn needs(&self, name: &str) -> bool {
        let path = self.layer.w.full("");
        let Some(own) = name.strip_prefix(&path) else { return true };
        let first = own.split('.').next().unwrap_or_default();
        let mine = [self.branches[0], self.branches[1]].contains(&first);
        mine || (first == "dfl" && (self.reg_max > 1))
    }

    /// `[batch, 4 + classes, cells]`, or `[batch, count, 6]` from an end-to-end head. The image is as high and wide as
    /// `image` says.
    pub(super) fn build(
        &self,
        b: &mut Builder,
        maps: &[Value],
        (height, width): (usize, usize),
    ) -> Result<Value, Error> {
        let strides = self.strides(maps, height)?;
        let levels =
            maps.iter().zip(strides).map(|(map, stride)| (map.size(2), map.size(3), stride)).collect();
        let cells = Cells { levels };
        if cells.count() == 0 || height == 0 || width == 0 {
            return Err(self.layer.unsupported("maps that are not empty"));
        }
        let fold_boxes = !self.layer.w.exact() && self.reg_max == 1;
        let mut boxes = Vec::with_capacity(maps.len());
        let mut scores = Vec::with_capacity(maps.len());
        for (at, map) in maps.iter().enumerate() {
            let sides = if fold_boxes {
                self.folded_boxes(b, at, map, cells.levels[at].2)?
            } else {
                self.branch(b, self.branches[0], at, map)?
            };
            boxes.push(b.flatten_from(&sides, 2));
            let classes = self.branch(b, self.branches[1], at, map)?;
            scores.push(b.flatten_from(&classes, 2));
        }
        let boxes = b.concat(&boxes.iter().collect::<Vec<_>>(), -1);
        let scores = b.concat(&scores.iter().collect::<Vec<_>>(), -1);
        if boxes.size(1) != 4 * self.reg_max || scores.size(1) != self.classes {
            return Err(self.layer.damaged("has branches of other widths than `reg_max` and `nc` say"));
        }
        let boxes = match (self.layer.w.exact(), fold_boxes) {
            (true, _) => self.exact_boxes(b, &boxes, &cells)?,
            (false, true) => self.placed(b, &boxes, &cells),
            (false, false) => self.expected_boxes(b, &boxes, &cells)?,
        };
        Ok(match (self.end_to_end, self.layer.w.exact()) {
            (true, true) => self.exact_selection(b, &boxes, &scores),
            (true, false) => self.selection(b, &boxes, &scores),
            (false, _) => {
                let scores = b.sigmoid(&scores);
                b.concat(&[&boxes, &scores], 1)
            }
        })
    }

    fn branch(&self, b: &mut Builder, name: &str, level: usize, map: &Value) -> Result<Value, Error> {
        let list = self.layer.child(name)?;
        b.scoped(name, |b| list.apply(b, &level.to_string(), map))
    }

    /// The stride of each level: what the file says, else what the sizes say.
    fn strides(&self, maps: &[Value], height: usize) -> Result<Vec<f32>, Error> {
        let stated: Vec<f32> = match self.layer.fact("stride") {
            Some(Fact::List(items)) => {
                items.iter().filter_map(Fact::float).map(|stride| stride as f32).collect()
            }
            _ => Vec::new(),
        };
        let count = self.layer.child(self.branches[0])?.names().count();
        if count != maps.len() || maps.is_empty() {
            return Err(self.layer.damaged(&format!("has {count} branches for {} maps", maps.len())));
        }
        let usable = |stride: &f32| stride.is_finite() && *stride > 0.0;
        if stated.len() == maps.len() && stated.iter().all(usable) {
            return Ok(stated);
        }
        Ok(maps.iter().map(|map| height as f32 / map.size(2).max(1) as f32).collect())
    }

    /// The numbers that the distances of a side stand for.
    fn projection(&self) -> Result<Tensor, Error> {
        let dfl = self.layer.child("dfl")?.child("conv")?;
        Ok(dfl.w.tensor("weight", &[1, self.reg_max, 1, 1]))
    }

    /// Boxes as the original computes them.
    fn exact_boxes(&self, b: &mut Builder, sides: &Value, cells: &Cells) -> Result<Value, Error> {
        let count = cells.count();
        let mut sides = sides.clone();
        if self.reg_max > 1 {
            let split = b.reshape(&sides, &[0, 4, self.reg_max as i64, count as i64]);
            let split = b.transpose(&split, &[0, 2, 1, 3]);
            let shares = b.softmax(&split, 1);
            let weight = b.weight(&self.layer.w.full("dfl.conv.weight"), widened(self.projection()?));
            let mean = b.scoped("dfl", |b| b.conv(&shares, &weight, None, Conv::new(1, 0)));
            sides = b.reshape(&mean, &[0, 4, count as i64]);
        }
        let middles = b.weight(&self.layer.w.full("anchors"), cells.clone().middles());
        let strides = b.weight(&self.layer.w.full("strides"), cells.clone().strides());
        let parts = b.split(&sides, &[2, 2], 1);
        let [before, after] = std::array::from_fn(|at| parts.get(at).unwrap_or(&sides).clone());
        let start = b.sub(&middles, &before);
        let end = b.add(&middles, &after);
        let boxes = if self.end_to_end {
            b.concat(&[&start, &end], 1)
        } else {
            let two = b.scalar(2.0);
            let sum = b.add(&start, &end);
            let centre = b.div(&sum, &two);
            let size = b.sub(&end, &start);
            b.concat(&[&centre, &size], 1)
        };
        Ok(b.mul(&boxes, &strides))
    }

    /// From the distances to the left, top, right and bottom to what a box consists of.
    fn mix(&self) -> [[f32; 4]; 4] {
        if self.end_to_end {
            // Corners.
            [[-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
        } else {
            // Centre and size.
            [[-0.5, 0.0, 0.5, 0.0], [0.0, -0.5, 0.0, 0.5], [1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]]
        }
    }

    /// Boxes from distances: the weighted means and the step from sides to boxes are one matrix.
    fn expected_boxes(&self, b: &mut Builder, sides: &Value, cells: &Cells) -> Result<Value, Error> {
        let (reg_max, mix) = (self.reg_max, self.mix());
        let split = b.reshape(sides, &[0, 4, reg_max as i64, -1]);
        let shares = b.softmax(&split, 2);
        let shares = b.reshape(&shares, &[0, 4 * reg_max as i64, -1]);
        let projection = self.projection()?;
        let matrix = deferred_floats(&[4, 4 * reg_max], move || {
            let numbers = floats(&projection);
            let row = |row: &[f32; 4]| -> Vec<f32> {
                row.iter().flat_map(|part| numbers.iter().map(move |number| part * number)).collect()
            };
            mix.iter().flat_map(row).collect()
        });
        let matrix = b.weight(&self.layer.w.full("dfl.conv.weight"), matrix);
        let boxes = b.matmul(&matrix, &shares);
        let strides = b.weight(&self.layer.w.full("strides"), cells.clone().strides());
        let boxes = b.mul(&boxes, &strides);
        Ok(self.placed(b, &boxes, cells))
    }

    /// The last convolution of a box branch gives boxes in pixels, seen from the middle of the cell.
    fn folded_boxes(&self, b: &mut Builder, level: usize, map: &Value, stride: f32) -> Result<Value, Error> {
        let (list_name, name) = (self.branches[0], level.to_string());
        let list = self.layer.child(list_name)?;
        let branch = list.child(&name)?;
        let names: Vec<&str> = branch.names().collect();
        let Some((last, before)) = names.split_last() else {
            return Err(branch.damaged("is empty"));
        };
        b.scoped(format!("{list_name}/{name}"), |b| {
            let x = before.iter().try_fold(map.clone(), |x, name| branch.apply(b, name, &x))?;
            let conv = branch.child(last)?;
            let kernel = kernel(&conv, &x)?;
            if kernel.shape[0] != 4 || kernel.moves.groups != 1 {
                return Err(conv.unusable("out_channels", "4, for a head with `reg_max` 1"));
            }
            let mix = self.mix().map(|row| row.map(|part| part * stride));
            let weight = mixed(conv.w.tensor("weight", &kernel.shape), mix);
            let bias = match conv.w.shape("bias") {
                Some(_) => mixed(conv.w.tensor("bias", &[4]), mix),
                None => deferred_floats(&[4], || vec![0.0; 4]),
            };
            Ok(convolve(b, &branch, last, &x, Folded { weight, bias, moves: kernel.moves }))
        })
    }

    /// The middles of the cells, in pixels, added to the parts of a box that are places.
    fn placed(&self, b: &mut Builder, boxes: &Value, cells: &Cells) -> Value {
        let (cells, corners) = (cells.clone(), self.end_to_end);
        let table = deferred_floats(&[1, 4, cells.count()], move || {
            let mut middles = cells.clone().in_pixels();
            if corners {
                middles.extend_from_within(..);
            } else {
                middles.resize(2 * middles.len(), 0.0);
            }
            middles
        });
        let table = b.weight(&self.layer.w.full("anchors"), table);
        b.add(boxes, &table)
    }

    /// The best rows as the original finds them: first the cells with the best scores, then the best of their scores.
    fn exact_selection(&self, b: &mut Builder, boxes: &Value, scores: &Value) -> Value {
        let classes = self.classes;
        let count = LARGEST_COUNT.min(scores.size(2));
        let scores = b.sigmoid(scores);
        let all = b.concat(&[boxes, &scores], 1);
        let rows = b.transpose(&all, &[0, 2, 1]);
        let parts = b.split(&rows, &[4, classes], -1);
        let [boxes, scores] = std::array::from_fn(|at| parts.get(at).unwrap_or(&rows).clone());
        let best = b.reduce_max(&scores, &[-1], false);
        let (_, chosen) = b.top_k(&best, count, 1);
        let boxes = b.gather_rows(&boxes, &chosen);
        let scores = b.gather_rows(&scores, &chosen);
        pick(b, &boxes, &scores, count, true)
    }

    /// The same, from scores before their sigmoid.
    fn selection(&self, b: &mut Builder, boxes: &Value, logits: &Value) -> Value {
        let classes = self.classes;
        let count = LARGEST_COUNT.min(logits.size(2));
        let best = b.reduce_max(logits, &[1], false);
        let (_, chosen) = b.top_k(&best, count, 1);
        let all = b.concat(&[boxes, logits], 1);
        let rows = b.transpose(&all, &[0, 2, 1]);
        let rows = b.gather_rows(&rows, &chosen);
        let parts = b.split(&rows, &[4, classes], -1);
        let [boxes, logits] = std::array::from_fn(|at| parts.get(at).unwrap_or(&rows).clone());
        pick(b, &boxes, &logits, count, false)
    }
}

/// The best `count` pairs of row and class, as rows `[batch, count, 6]`: box, score, class. Scores get a sigmoid, unless
/// they had it.
pub(super) fn pick(b: &mut Builder, boxes: &Value, scores: &Value, count: usize, had_sigmoid: bool) -> Value {
    let classes = scores.size(-1);
    let flat = b.reshape(scores, &[0, -1, 1]);
    let (best, places) = b.top_k(&flat, count, 1);
    let width = b.ints(&[classes as i64]);
    let row = b.div(&places, &width);
    let first = b.mul(&row, &width);
    let class = b.sub(&places, &first);
    let class = b.cast(&class, DataType::F32);
    let boxes = b.gather_rows(boxes, &row);
    let scores = if had_sigmoid { best } else { b.sigmoid(&best) };
    b.concat(&[&boxes, &scores, &class], -1)
}

impl Cells {
    fn count(&self) -> usize {
        self.levels.iter().map(|(height, width, _)| height * width).sum()
    }

    /// Something about each cell: its column, row and stride.
    fn each(&self, of: impl Fn(f32, f32, f32) -> f32) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.count());
        for (height, width, stride) in &self.levels {
            for row in 0..*height {
                values.extend((0..*width).map(|column| of(column as f32, row as f32, *stride)));
            }
        }
        values
    }

    /// The middle of each cell, in cells: `[1, 2, cells]`.
    fn middles(self) -> Tensor {
        deferred_floats(&[1, 2, self.count()], move || {
            let mut middles = self.each(|x, _, _| x + 0.5);
            middles.extend(self.each(|_, y, _| y + 0.5));
            middles
        })
    }

    /// The middle of each cell, in pixels: x of all cells, then y.
    fn in_pixels(self) -> Vec<f32> {
        let mut middles = self.each(|x, _, stride| (x + 0.5) * stride);
        middles.extend(self.each(|_, y, stride| (y + 0.5) * stride));
        middles
    }

    /// The stride of each cell: `[1, 1, cells]`.
    fn strides(self) -> Tensor {
        deferred_floats(&[1, 1, self.count()], move || self.each(|_, _, stride| stride))
    }
}

/// Rows that are mixed: four of them, from four.
fn mixed(tensor: Tensor, mix: [[f32; 4]; 4]) -> Tensor {
    let shape = tensor.shape().to_vec();
    deferred_floats(&shape, move || {
        let values = floats(&tensor);
        let width = values.len() / 4;
        let sum = |row: &[f32; 4], column: usize| {
            let parts = row.iter().enumerate();
            parts.map(|(at, part)| f64::from(*part) * f64::from(values[at * width + column])).sum::<f64>()
                as f32
        };
        mix.iter().flat_map(|row| (0..width).map(|column| sum(row, column)).collect::<Vec<_>>()).collect()
    })
}

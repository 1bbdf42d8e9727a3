//! What TensorRT's plug-in `EfficientNMS_TRT` computes, for machines without it: written from its documentation.
//!
//! A graph with it is checked in two runs: the first gives the plug-in's inputs, the second takes its outputs.

use graph::{Attribute, Graph, Model, Node, Tensor, ValueInfo};

use super::{SUPPRESSION, refused};
use crate::{Error, Xyxy, iou};

/// The plug-in's operator.
const OPERATOR: &str = "EfficientNMS_TRT";

/// Most boxes of an image that the plug-in looks at.
const CANDIDATES: usize = 4096;

/// A graph cut at its plug-in.
pub struct PluginCut {
    node: Node,
    /// Gives the plug-in's boxes and scores.
    pub before: Model,
    /// Takes what the plug-in makes besides its own inputs; `None` when that is what comes out of the graph.
    pub after: Option<Model>,
}

impl PluginCut {
    /// Cuts a model at its only `EfficientNMS_TRT`; `None` when it has none.
    ///
    /// # Errors
    /// [`Error::InGraph`] for several, or for one whose inputs are not described.
    pub fn new(model: &Model) -> Result<Option<Self>, Error> {
        let mut found = model.graph.nodes.iter().filter(|node| node.op_type == OPERATOR);
        let Some(node) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            return Err(refused(SUPPRESSION, format!("the graph has several `{OPERATOR}`")));
        }
        let describe = |name: &String| {
            model.graph.values.get(name).cloned().ok_or_else(|| {
                refused(SUPPRESSION, format!("the file does not describe `{name}`, an input of it"))
            })
        };
        let fed = node.inputs.get(..2).ok_or_else(|| refused(SUPPRESSION, "it has no boxes and scores"))?;
        let mut before = model.clone();
        before.graph.outputs = fed.iter().map(describe).collect::<Result<_, Error>>()?;
        without(&mut before.graph, node);
        let mut after = model.clone();
        let ends = model.graph.outputs.iter().all(|output| node.outputs.contains(&output.name));
        // Some of what it makes may come out as it is.
        let described = |name: &String| {
            let output = || model.graph.outputs.iter().find(|output| output.name == *name);
            model.graph.values.get(name).or_else(output).cloned()
        };
        let made = node.outputs.iter().map(described);
        let made: Option<Vec<ValueInfo>> = made.collect();
        without(&mut after.graph, node);
        let after = match (ends, made) {
            (true, _) => None,
            (false, Some(made)) => {
                after.graph.inputs.extend(made);
                Some(after)
            }
            (false, None) => return Err(refused(SUPPRESSION, "what it makes is not described")),
        };
        Ok(Some(Self { node: node.clone(), before, after }))
    }

    /// What the plug-in makes of these boxes and scores, by the names of its outputs.
    ///
    /// # Errors
    /// [`Error::InGraph`] for shapes or attributes that it does not take.
    pub fn run(&self, boxes: &Tensor, scores: &Tensor) -> Result<Vec<(String, Tensor)>, Error> {
        let made = stand_in(&self.node, boxes, scores)?;
        Ok(self.node.outputs.iter().cloned().zip(made).collect())
    }
}

fn without(graph: &mut Graph, node: &Node) {
    graph.nodes.retain(|other| other.outputs != node.outputs);
    graph.values.retain(|name, _| !node.outputs.contains(name));
    let mut needed: std::collections::HashSet<String> =
        graph.outputs.iter().map(|output| output.name.clone()).collect();
    // What only the operator fed on goes: it could not be computed without it.
    let mut alive: Vec<Node> = Vec::with_capacity(graph.nodes.len());
    for node in std::mem::take(&mut graph.nodes).into_iter().rev() {
        if node.outputs.iter().any(|output| needed.contains(output)) || node.subgraphs().next().is_some() {
            needed.extend(node.inputs.iter().cloned());
            alive.push(node);
        }
    }
    alive.reverse();
    graph.nodes = alive;
}

/// Numbers `[batch, …]` with two more dimensions.
struct Table {
    values: Vec<f32>,
    shape: [usize; 3],
}

impl Table {
    fn of(tensor: &Tensor) -> Result<Self, Error> {
        let shape: [usize; 3] = tensor
            .shape()
            .try_into()
            .map_err(|_| refused(SUPPRESSION, format!("an input of shape {:?}", tensor.shape())))?;
        Ok(Self { values: tensor.to_f32()?, shape })
    }

    fn row(&self, image: usize, at: usize) -> &[f32] {
        let [_, rows, columns] = self.shape;
        let start = (image * rows + at) * columns;
        &self.values[start..start + columns]
    }
}

/// Corners in any order.
fn corners(numbers: &[f32]) -> Xyxy {
    let &[a, b, c, d] = numbers else { return Xyxy::default() };
    Xyxy::new(a.min(c), b.min(d), a.max(c), b.max(d))
}

fn sorted(mut candidates: Vec<(f32, usize)>) -> Vec<(f32, usize)> {
    candidates.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    candidates
}

/// Boxes `[batch, n, 4]`, scores `[batch, n, classes]` → number, boxes, scores and classes of detections.
fn stand_in(node: &Node, boxes: &Tensor, scores: &Tensor) -> Result<Vec<Tensor>, Error> {
    let (boxes, scores) = (Table::of(boxes)?, Table::of(scores)?);
    let ([batch, count, four], [images, rows, classes]) = (boxes.shape, scores.shape);
    if (four, batch, count) != (4, images, rows) {
        return Err(refused(SUPPRESSION, format!("boxes {:?} and scores {:?}", boxes.shape, scores.shape)));
    }
    let float = |name: &str| match node.attributes.get(name) {
        Some(Attribute::Float(value)) => Ok(*value),
        _ => Err(refused(SUPPRESSION, format!("the attribute `{name}` is missing"))),
    };
    let int = |name: &str| {
        let value = node.int(name);
        value.ok_or_else(|| refused(SUPPRESSION, format!("the attribute `{name}` is missing")))
    };
    let (least, threshold) = (float("score_threshold")?, float("iou_threshold")?);
    let most = usize::try_from(int("max_output_boxes")?).unwrap_or(0);
    let plain = int("background_class")? == -1 && int("score_activation")? == 0 && int("box_coding")? == 0;
    if !plain {
        return Err(refused(SUPPRESSION, "a background, an activation and centre boxes are not understood"));
    }
    let agnostic = node.int("class_agnostic").unwrap_or(0) != 0;
    let mut made = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for image in 0..batch {
        let pairs = (0..count).flat_map(|row| {
            let scores = scores.row(image, row).iter().enumerate();
            scores.map(move |(class, score)| (*score, row * classes + class))
        });
        let mut candidates = sorted(pairs.filter(|(score, _)| *score > least).collect());
        candidates.truncate(CANDIDATES);
        let mut kept: Vec<(f32, usize)> = Vec::new();
        for candidate in candidates {
            let (row, class) = (candidate.1 / classes, candidate.1 % classes);
            let own = corners(boxes.row(image, row));
            let overlaps = |better: &(f32, usize)| {
                let rival = agnostic || better.1 % classes == class;
                rival && iou(corners(boxes.row(image, better.1 / classes)), own) > threshold
            };
            if kept.len() < most && !kept.iter().any(overlaps) {
                kept.push(candidate);
            }
        }
        made.0.push(kept.len() as i32);
        kept.resize(most, (0.0, usize::MAX));
        for (score, pair) in kept {
            let real = pair != usize::MAX;
            let (row, class) = if real { (pair / classes, pair % classes) } else { (0, 0) };
            made.1.extend(if real { boxes.row(image, row).to_vec() } else { vec![0.0; 4] });
            made.2.push(score);
            made.3.push(class as i32);
        }
    }
    Ok(vec![
        Tensor::from_i32([batch, 1], made.0)?,
        Tensor::from_f32([batch, most, 4], made.1)?,
        Tensor::from_f32([batch, most], made.2)?,
        Tensor::from_i32([batch, most], made.3)?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(attributes: Vec<(&str, Attribute)>) -> Node {
        let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Node { op_type: OPERATOR.into(), attributes, ..Node::default() }
    }

    /// Box 1 overlaps box 0 by 9/11, box 2 lies apart.
    const BOXES: [f32; 12] = [0.0, 0.0, 10.0, 10.0, 1.0, 0.0, 11.0, 10.0, 50.0, 50.0, 60.0, 60.0];

    #[test]
    fn the_documentation_of_the_plug_in() {
        let boxes = Tensor::from_f32([1, 3, 4], BOXES.to_vec()).unwrap();
        let scores = Tensor::from_f32([1, 3, 2], vec![0.9, 0.0, 0.8, 0.7, 0.3, 0.6]).unwrap();
        let run = |agnostic: i64| {
            let attributes = vec![
                ("score_threshold", 0.4_f32.into()),
                ("iou_threshold", 0.5_f32.into()),
                ("max_output_boxes", 4_i64.into()),
                ("background_class", (-1_i64).into()),
                ("score_activation", 0_i64.into()),
                ("box_coding", 0_i64.into()),
                ("class_agnostic", agnostic.into()),
            ];
            let made = stand_in(&node(attributes), &boxes, &scores).unwrap();
            (made[0].to_i64().unwrap(), made[2].to_f32().unwrap(), made[3].to_i64().unwrap())
        };
        assert_eq!(run(0), (vec![3], vec![0.9, 0.7, 0.6, 0.0], vec![0, 1, 1, 0]));
        assert_eq!(run(1), (vec![2], vec![0.9, 0.6, 0.0, 0.0], vec![0, 1, 0, 0]));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let boxes = Tensor::from_f32([1, 3, 4], BOXES.to_vec()).unwrap();
        let scores = Tensor::from_f32([1, 1, 2], vec![0.9, 0.8]).unwrap();
        assert!(stand_in(&node(vec![]), &boxes, &scores).is_err());
        assert!(stand_in(&node(vec![]), &scores, &Tensor::from_f32([2], vec![0.0; 2]).unwrap()).is_err());
    }
}

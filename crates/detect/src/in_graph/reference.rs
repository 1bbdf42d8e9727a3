//! What the operators of suppression compute, for backends that lack one: written from ONNX's specification of
//! `NonMaxSuppression` and from the documentation of TensorRT's plug-in.
//!
//! A graph is checked in two runs then: the first gives the operator's inputs, the second takes its outputs.

use graph::{Attribute, Graph, Model, Node, Tensor, ValueInfo};

use super::{SUPPRESSION, refused};
use crate::{Error, Xyxy, iou};

/// Most boxes of an image that TensorRT's plug-in looks at.
const PLUGIN_CANDIDATES: usize = 4096;

/// A graph cut at its suppression.
pub struct SuppressionNode {
    node: Node,
    /// Gives the operator's boxes and scores.
    pub before: Model,
    /// Takes what the operator makes besides its own inputs; `None` when that is what comes out of the graph.
    pub after: Option<Model>,
    /// The constants that the operator reads.
    constants: Vec<Option<Tensor>>,
}

impl SuppressionNode {
    /// Cuts a model at its only `NonMaxSuppression` or `EfficientNMS_TRT`; `None` when it has none.
    ///
    /// # Errors
    /// [`Error::InGraph`] for several, or for one whose inputs are not described.
    pub fn cut(model: &Model) -> Result<Option<Self>, Error> {
        let is_one = |node: &&Node| matches!(node.op_type.as_str(), "NonMaxSuppression" | "EfficientNMS_TRT");
        let mut found = model.graph.nodes.iter().filter(is_one);
        let (Some(node), None) = (found.next(), found.next()) else {
            return match model.graph.nodes.iter().filter(is_one).count() {
                0 => Ok(None),
                count => Err(refused(SUPPRESSION, format!("the graph has {count} operators for it"))),
            };
        };
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
        let constants = node.inputs.iter().map(|name| model.graph.initializers.get(name).cloned()).collect();
        Ok(Some(Self { node: node.clone(), before, after, constants }))
    }

    /// What the operator makes of these boxes and scores, by the names of its outputs.
    ///
    /// # Errors
    /// [`Error::InGraph`] for shapes or attributes that it does not take.
    pub fn run(&self, boxes: &Tensor, scores: &Tensor) -> Result<Vec<(String, Tensor)>, Error> {
        let mut inputs = vec![Some(boxes.clone()), Some(scores.clone())];
        inputs.extend(self.constants.iter().skip(2).cloned());
        let made = stand_in(&self.node, &inputs)?;
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

/// Computes a node of suppression; an absent input is `None`.
///
/// # Errors
/// [`Error::InGraph`] for another operator, and for shapes or attributes that it does not take.
pub fn stand_in(node: &Node, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, Error> {
    match node.op_type.as_str() {
        "NonMaxSuppression" => non_max_suppression(node, inputs),
        "EfficientNMS_TRT" => efficient_nms(node, inputs),
        other => Err(refused(SUPPRESSION, format!("`{other}` is no operator of it"))),
    }
}

/// Numbers `[batch, …]` with two more dimensions.
struct Table {
    values: Vec<f32>,
    shape: [usize; 3],
}

impl Table {
    fn of(inputs: &[Option<Tensor>], at: usize) -> Result<Self, Error> {
        let tensor = inputs.get(at).and_then(Option::as_ref);
        let tensor = tensor.ok_or_else(|| refused(SUPPRESSION, format!("input {at} is absent")))?;
        let shape: [usize; 3] = tensor
            .shape()
            .try_into()
            .map_err(|_| refused(SUPPRESSION, format!("input {at} has shape {:?}", tensor.shape())))?;
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

/// The best of overlapping boxes: `candidates` are (score, box number), best first.
fn greedy(
    candidates: &[(f32, usize)],
    boxes: &Table,
    image: usize,
    threshold: f32,
    most: usize,
) -> Vec<usize> {
    let mut kept: Vec<usize> = Vec::new();
    for (_, at) in candidates {
        let own = corners(boxes.row(image, *at));
        if kept.len() < most
            && kept.iter().all(|better| iou(corners(boxes.row(image, *better)), own) <= threshold)
        {
            kept.push(*at);
        }
    }
    kept
}

fn sorted(mut candidates: Vec<(f32, usize)>) -> Vec<(f32, usize)> {
    candidates.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    candidates
}

/// Boxes `[batch, n, 4]`, scores `[batch, classes, n]` → int64 `[kept, 3]`: image, class, box.
fn non_max_suppression(node: &Node, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, Error> {
    let (boxes, scores) = (Table::of(inputs, 0)?, Table::of(inputs, 1)?);
    let ([batch, count, four], [images, classes, columns]) = (boxes.shape, scores.shape);
    if (four, batch, count) != (4, images, columns) || node.int("center_point_box").unwrap_or(0) != 0 {
        return Err(refused(SUPPRESSION, format!("boxes {:?} and scores {:?}", boxes.shape, scores.shape)));
    }
    let scalar = |at: usize| -> Result<Option<f32>, Error> {
        let Some(tensor) = inputs.get(at).and_then(Option::as_ref) else { return Ok(None) };
        Ok(tensor.to_f32()?.first().copied())
    };
    let most = match inputs.get(2).and_then(Option::as_ref) {
        Some(tensor) => tensor.to_i64()?.first().map_or(0, |most| usize::try_from(*most).unwrap_or(0)),
        None => 0,
    };
    let (threshold, least) = (scalar(3)?.unwrap_or(0.0), scalar(4)?);
    let mut selected: Vec<i64> = Vec::new();
    for image in 0..batch {
        for class in 0..classes {
            let row = scores.row(image, class).iter().copied().zip(0..);
            let candidates =
                sorted(row.filter(|(score, _)| least.is_none_or(|least| *score > least)).collect());
            for at in greedy(&candidates, &boxes, image, threshold, most) {
                selected.extend([image as i64, class as i64, at as i64]);
            }
        }
    }
    Ok(vec![Tensor::from_i64([selected.len() / 3, 3], selected)?])
}

/// Boxes `[batch, n, 4]`, scores `[batch, n, classes]` → number, boxes, scores and classes of detections.
fn efficient_nms(node: &Node, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, Error> {
    let (boxes, scores) = (Table::of(inputs, 0)?, Table::of(inputs, 1)?);
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
        candidates.truncate(PLUGIN_CANDIDATES);
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

    fn node(op: &str, attributes: Vec<(&str, Attribute)>) -> Node {
        let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Node { op_type: op.into(), attributes, ..Node::default() }
    }

    /// Box 1 overlaps box 0 by 9/11, box 2 lies apart; row by row in the plug-in, class by class in ONNX.
    const BOXES: [f32; 12] = [0.0, 0.0, 10.0, 10.0, 1.0, 0.0, 11.0, 10.0, 50.0, 50.0, 60.0, 60.0];

    #[test]
    fn the_specification_of_onnx() {
        let boxes = Tensor::from_f32([1, 3, 4], BOXES.to_vec()).unwrap();
        let scores = Tensor::from_f32([1, 2, 3], vec![0.9, 0.8, 0.3, 0.0, 0.7, 0.6]).unwrap();
        let run = |most: i64, threshold: f32, least: f32| {
            let inputs = [
                Some(boxes.clone()),
                Some(scores.clone()),
                Some(Tensor::from_i64([1], vec![most]).unwrap()),
                Some(Tensor::from_f32([1], vec![threshold]).unwrap()),
                Some(Tensor::from_f32([1], vec![least]).unwrap()),
            ];
            stand_in(&node("NonMaxSuppression", vec![]), &inputs).unwrap()[0].to_i64().unwrap()
        };
        assert_eq!(run(9, 0.5, 0.4), [0, 0, 0, 0, 1, 1, 0, 1, 2]);
        assert_eq!(run(9, 0.9, 0.4), [0, 0, 0, 0, 0, 1, 0, 1, 1, 0, 1, 2]);
        assert_eq!(run(1, 0.9, 0.4), [0, 0, 0, 0, 1, 1]);
        assert!(run(0, 0.5, 0.4).is_empty());
        // The threshold itself is not above it.
        assert_eq!(run(9, 0.5, 0.7), [0, 0, 0]);
    }

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
            let made =
                stand_in(&node("EfficientNMS_TRT", attributes), &[Some(boxes.clone()), Some(scores.clone())]);
            let made = made.unwrap();
            (made[0].to_i64().unwrap(), made[2].to_f32().unwrap(), made[3].to_i64().unwrap())
        };
        assert_eq!(run(0), (vec![3], vec![0.9, 0.7, 0.6, 0.0], vec![0, 1, 1, 0]));
        assert_eq!(run(1), (vec![2], vec![0.9, 0.6, 0.0, 0.0], vec![0, 1, 0, 0]));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let boxes = Tensor::from_f32([1, 3, 4], BOXES.to_vec()).unwrap();
        let scores = Tensor::from_f32([1, 1, 2], vec![0.9, 0.8]).unwrap();
        for op in ["NonMaxSuppression", "EfficientNMS_TRT", "Relu"] {
            let inputs = [Some(boxes.clone()), Some(scores.clone())];
            assert!(stand_in(&node(op, vec![]), &inputs).is_err(), "{op}");
            assert!(stand_in(&node(op, vec![]), &[]).is_err(), "{op}");
        }
    }
}

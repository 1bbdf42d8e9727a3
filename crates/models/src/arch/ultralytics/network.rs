//! The network: a list of layers, each of which says whose results it takes.

use graph::{Builder, Value};

use super::head::Detect;
use super::module::{Fact, Layer};
use super::registry;
use super::rtdetr::Decoder;
use crate::{DeformableForm, Error};

/// Heads of the library that find something else than boxes.
const OTHER_HEADS: &[&str] =
    &["Classify", "Depth", "OBB", "OBB26", "Pose", "Pose26", "Segment", "Segment26", "SemanticSegment"];

/// What stands at the end of a network.
pub(super) enum Head<'a> {
    Detect(Detect<'a>),
    RtDetr(Decoder<'a>),
}

impl<'a> Head<'a> {
    /// The head of the network `root`.
    ///
    /// # Errors
    /// [`Error::NotADetector`] for a head that finds something else, [`Error::UnknownArchitecture`] for others.
    pub(super) fn find(root: &Layer<'a>, form: DeformableForm) -> Result<Self, Error> {
        let layers = root.child("model")?;
        let last = layers.names().last().ok_or_else(|| layers.damaged("is empty"))?;
        let head = layers.child(last)?;
        match head.kind() {
            "Detect" | "v10Detect" => Detect::new(&head).map(Self::Detect),
            "RTDETRDecoder" => Decoder::new(&head, form).map(Self::RtDetr),
            other if OTHER_HEADS.contains(&other) => Err(Error::NotADetector { class: other.to_owned() }),
            other => Err(super::unknown(other)),
        }
    }

    pub(super) fn classes(&self) -> usize {
        match self {
            Self::Detect(head) => head.classes,
            Self::RtDetr(head) => head.classes,
        }
    }

    /// Whether the graph needs a tensor of this name.
    pub(super) fn needs(&self, name: &str) -> bool {
        let own = match self {
            Self::Detect(head) => head.needs(name),
            Self::RtDetr(head) => head.needs(name),
        };
        own && !name.ends_with(".num_batches_tracked")
    }
}

/// What a layer gives: a map, or several.
#[derive(Clone)]
enum Flow {
    One(Value),
    Many(Vec<Value>),
}

/// The output of the network for `pixels`.
pub(super) fn build(
    b: &mut Builder,
    root: &Layer<'_>,
    head: &Head<'_>,
    pixels: &Value,
) -> Result<Value, Error> {
    let image = (pixels.size(2), pixels.size(3));
    let layers = root.child("model")?;
    let count = layers.names().count();
    let mut flows: Vec<Flow> = Vec::with_capacity(count);
    for (at, name) in layers.names().enumerate() {
        let layer = layers.child(name)?;
        let inputs = inputs(&layer, &flows, pixels)?;
        let scope = format!("model.{name}");
        if at + 1 == count {
            let maps = maps(&layer, &inputs)?;
            return b.scoped(scope, |b| match head {
                Head::Detect(head) => head.build(b, &maps, image),
                Head::RtDetr(head) => head.build(b, &maps),
            });
        }
        flows.push(b.scoped(scope, |b| apply(b, &layer, &inputs))?);
    }
    Err(layers.damaged("is empty"))
}

/// What the layer takes: the result before it (-1), or those of the layers of these numbers.
fn inputs(layer: &Layer<'_>, flows: &[Flow], pixels: &Value) -> Result<Vec<Flow>, Error> {
    let wrong = || layer.unusable("f", "numbers of earlier layers");
    let flow = |from: i64| -> Result<Flow, Error> {
        let at = if from < 0 { from.checked_add(flows.len() as i64) } else { Some(from) };
        match at.and_then(|at| usize::try_from(at).ok()) {
            Some(at) => flows.get(at).cloned().ok_or_else(wrong),
            None if from == -1 && flows.is_empty() => Ok(Flow::One(pixels.clone())),
            None => Err(wrong()),
        }
    };
    match layer.fact("f") {
        Some(Fact::List(items)) => {
            items.iter().map(|item| item.int().ok_or_else(wrong).and_then(flow)).collect()
        }
        Some(item) => Ok(vec![flow(item.int().ok_or_else(wrong)?)?]),
        None => Err(layer.damaged("does not say its `f`")),
    }
}

/// The inputs as one map each.
fn maps(layer: &Layer<'_>, inputs: &[Flow]) -> Result<Vec<Value>, Error> {
    let map = |flow: &Flow| match flow {
        Flow::One(map) => Ok(map.clone()),
        Flow::Many(_) => Err(layer.unusable("f", "layers that give one map")),
    };
    inputs.iter().map(map).collect()
}

fn apply(b: &mut Builder, layer: &Layer<'_>, inputs: &[Flow]) -> Result<Flow, Error> {
    match layer.kind() {
        "Concat" => {
            if layer.size_or("d", 1)? != 1 {
                return Err(layer.unusable("d", "1"));
            }
            let maps = maps(layer, inputs)?;
            Ok(Flow::One(b.concat(&maps.iter().collect::<Vec<_>>(), 1)))
        }
        "CBLinear" => {
            let [Flow::One(x)] = inputs else { return Err(layer.unusable("f", "one layer")) };
            let all = layer.apply(b, "conv", x)?;
            Ok(Flow::Many(b.split(&all, &layer.sizes("c2s")?, 1)))
        }
        "CBFuse" => fuse(b, layer, inputs).map(Flow::One),
        _ => match inputs {
            [Flow::One(x)] => registry::apply(b, layer, x).map(Flow::One),
            _ => Err(layer.unusable("f", "one layer that gives one map")),
        },
    }
}

/// `CBFuse`: from each of the earlier layers one of its maps, at the size of the last input, all summed.
fn fuse(b: &mut Builder, layer: &Layer<'_>, inputs: &[Flow]) -> Result<Value, Error> {
    let Some((Flow::One(last), earlier)) = inputs.split_last() else {
        return Err(layer.unusable("f", "layers, the last of which gives one map"));
    };
    let chosen = layer.sizes("idx")?;
    let mut sum: Option<Value> = None;
    for (flow, index) in earlier.iter().zip(&chosen) {
        let map = match flow {
            Flow::Many(maps) => maps.get(*index),
            Flow::One(_) => None,
        };
        let map = map.ok_or_else(|| layer.unusable("idx", "numbers of the maps of those layers"))?;
        let map = super::torch_nn::nearest(b, map, [last.size(2), last.size(3)]);
        sum = Some(sum.map_or(map.clone(), |sum| b.add(&sum, &map)));
    }
    if earlier.len() != chosen.len() {
        return Err(layer.unusable("idx", &format!("{} numbers", earlier.len())));
    }
    Ok(sum.map_or(last.clone(), |sum| b.add(&sum, last)))
}

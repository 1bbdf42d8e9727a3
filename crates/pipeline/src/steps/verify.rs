//! Compares the delivered graph with the source-exact one on real images.
//!
//! The source-exact graph has every layer as the checkpoint has it; the delivered one has batch norm folded and whatever
//! else was rewritten or rounded. A conversion is wrong until shown right: tensors, then detections, at batch 1, in the
//! middle and at the maximum, with the same image in every row and rows permuted. A precision is proven from the graph,
//! by the share of the FLOPs that is computed in it. Where numbers were rounded, batch 1 is compared with the source, and
//! the other batches with batch 1 of the same graph: what a batch does wrong must not hide behind a rounding's bounds.

use std::path::Path;

use deploy::{Bound, Check, Precision};
use detect::metrics::{Agreement, AgreementBounds};
use detect::{Detections, Detector, Geometry, Thresholds, preprocess};
use graph::{DataType, Facts, Tensor};

use super::rows::aligned;
use crate::bounds::Bounds;
use crate::images::ImageSet;
use crate::network::{Network, Outputs, row, stacked};
use crate::{Error, map_file};

/// What is compared.
pub(crate) struct Subject<'a> {
    /// The source-exact graph.
    pub(crate) exact: &'a Path,
    /// The description that came out of the source with it.
    pub(crate) source: &'a Detector,
    /// The delivered graph.
    pub(crate) delivered: &'a Path,
    /// The description that the delivered graph carries: whoever runs it goes by that one.
    pub(crate) detector: &'a Detector,
    /// The path of the delivered graph in the package, for the checks.
    pub(crate) name: &'a str,
    pub(crate) backend: &'a str,
    pub(crate) max_batch: usize,
    /// The number format that the delivered graph is said to compute in.
    pub(crate) claims: Option<Precision>,
}

/// One image: how the delivered graph is fed, and what the source-exact graph makes of it at batch 1.
struct Reference {
    inputs: Outputs,
    geometry: Geometry,
    outputs: Outputs,
    detections: Detections,
}

/// What rounding alone does to the source-exact graph: its answers to an input changed by a millionth, compared with its
/// answers to the input itself. A network of large or random weights may answer a millionth with a hundredth; no order
/// of operations can then agree better with another, and a bound below it would call a right graph wrong.
#[derive(Default)]
struct Rounding {
    worst: Worst,
    agreed: Option<Agreement>,
}

impl Rounding {
    /// Two graphs may differ by this many times what rounding does to one.
    const MARGIN: f64 = 3.0;

    /// The bound of an output's difference.
    fn tensor(&self, name: &str, bound: f64) -> f64 {
        let own = self.worst.outputs.iter().find(|known| known.name == name).map_or(0.0, |own| own.largest);
        bound.max(own * Self::MARGIN)
    }

    /// How many of `compared` detections may differ, when `allowed` is the share that may, and rounding alone made `count`
    /// of them differ.
    fn detections(&self, count: impl Fn(&Agreement) -> usize, compared: usize, allowed: f64) -> f64 {
        let most = (allowed * compared as f64).floor();
        let Some(own) = &self.agreed else { return most };
        let share = count(own) as f64 / (own.matched + own.missed).max(1) as f64;
        most.max((share * Self::MARGIN * compared as f64).ceil())
    }
}

/// Why a comparison whose bound nothing could exceed is not made.
const TOO_SHAKY: &str = "a millionth of change in the input already changes this network's answers as much";

/// Runs every comparison and gives a check for each.
pub(crate) fn verify(
    subject: &Subject<'_>,
    images: &ImageSet,
    bounds: &Bounds,
    progress: &dyn Fn(u64, u64),
) -> Result<Vec<Check>, Error> {
    let mut checks = vec![description_check(subject)];
    if let Some(claimed) = subject.claims {
        checks.push(precision_check(subject, claimed, bounds)?);
    }
    let load = || Network::load(subject.delivered, subject.detector, subject.backend, None);
    checks.extend(compare(subject, load, images, bounds, progress)?);
    Ok(checks)
}

/// The comparisons alone, of whatever network `load` gives for the delivered graph.
pub(crate) fn compare<'d>(
    subject: &Subject<'_>,
    load: impl FnOnce() -> Result<Network<'d>, Error>,
    images: &ImageSet,
    bounds: &Bounds,
    progress: &dyn Fn(u64, u64),
) -> Result<Vec<Check>, Error> {
    let everything: Vec<usize> = (0..images.images.len()).collect();
    let total = (everything.len() + plan(subject.max_batch, &everything, &everything).len()) as u64;
    let (references, rounding) = references(subject, images, bounds, &|done| progress(done, total))?;
    let plan = plan(subject.max_batch, &everything, &alike(subject, &references));
    let mut network = load()?;
    let mut checks = Vec::new();
    let (own, between) = if bounds.is_exact() {
        (None, *bounds)
    } else {
        (Some(own_references(&mut network, subject, &references, bounds)?), bounds.between_batches())
    };
    for (done, trial) in plan.iter().enumerate() {
        progress((references.len() + done) as u64, total);
        let (expected, bounds) = match &own {
            Some(own) if done > 0 => (own, &between),
            _ => (&references, bounds),
        };
        checks.extend(run_trial(&mut network, subject, trial, expected, &rounding, bounds)?);
    }
    progress(total, total);
    Ok(checks)
}

/// The description that an ONNX file carries.
pub(crate) fn carried(onnx: &Path) -> Result<Detector, Error> {
    let model = graph::onnx::read_structure(map_file(onnx)?)?;
    let text = model.metadata.get(Detector::METADATA_KEY);
    let text = text.ok_or_else(|| Error::NotDescribed { path: onnx.to_owned() })?;
    let in_file = |source| Error::InFile { path: onnx.to_owned(), source: Box::new(source) };
    Detector::from_json(text).map_err(in_file)
}

/// Whether the delivered graph carries the source's description: a rounding must not hide what a wrong one does.
fn description_check(subject: &Subject<'_>) -> Check {
    let differs = u8::from(subject.detector != subject.source);
    let name = "descriptions that differ from the source's";
    Check::of(name, subject.name, f64::from(differs), Bound::AtMost(0.0), "")
}

/// Whether the delivered graph computes in the number format that its name says.
fn precision_check(subject: &Subject<'_>, claimed: Precision, bounds: &Bounds) -> Result<Check, Error> {
    let dtype = match claimed {
        Precision::Fp32 => DataType::F32,
        Precision::Fp16 => DataType::F16,
        Precision::Int8 => DataType::I8,
    };
    let name = format!("share of the FLOPs in {dtype}");
    let facts = Facts::of(&graph::onnx::read_structure(map_file(subject.delivered)?)?);
    let own = facts.precisions.iter().find(|share| share.dtype == dtype);
    Ok(match own.map_or(facts.flops.map(|_| 0.0), |share| share.flops_share) {
        Some(share) => Check::of(&name, subject.name, share, Bound::AtLeast(bounds.flops), ""),
        None => Check::not_run(&name, subject.name, "the shapes of some layers are not stated in the graph"),
    })
}

/// One way of filling batches: the images' places in the set, batch by batch.
struct Trial {
    title: String,
    batches: Vec<Vec<usize>>,
}

/// The images that may be in one batch: all of them, or those of the first one's size where the graph takes raw frames.
fn alike(subject: &Subject<'_>, references: &[Reference]) -> Vec<usize> {
    let size = |at: &usize| references[*at].geometry.original;
    let any = subject.detector.input.frames.is_none();
    (0..references.len()).filter(|at| any || size(at) == size(&0)).collect()
}

/// Batch 1 of `everything`; of images that are `alike` the middle, the maximum, the same image in every row, rows permuted.
fn plan(max_batch: usize, everything: &[usize], alike: &[usize]) -> Vec<Trial> {
    let mut trials =
        vec![Trial { title: "batch 1".into(), batches: everything.iter().map(|at| vec![*at]).collect() }];
    if max_batch < 2 {
        return trials;
    }
    let full = |batch: usize| -> Vec<usize> { alike.iter().copied().cycle().take(batch).collect() };
    let middle = max_batch.div_ceil(2);
    if middle > 1 && middle < max_batch {
        trials.push(Trial { title: format!("batch {middle}"), batches: vec![full(middle)] });
    }
    trials.push(Trial { title: format!("batch {max_batch}"), batches: vec![full(max_batch)] });
    trials.push(Trial {
        title: format!("batch {max_batch}, the same image in every row"),
        batches: vec![vec![0; max_batch]],
    });
    let permuted: Vec<usize> = full(max_batch).into_iter().rev().collect();
    trials.push(Trial { title: format!("batch {max_batch}, rows permuted"), batches: vec![permuted] });
    trials
}

fn references(
    subject: &Subject<'_>,
    images: &ImageSet,
    bounds: &Bounds,
    progress: &dyn Fn(u64),
) -> Result<(Vec<Reference>, Rounding), Error> {
    let mut rounding = Rounding::default();
    let mut network = Network::load(subject.exact, subject.source, subject.backend, None)?;
    let thresholds = thresholds(subject.source, bounds);
    let mut references = Vec::with_capacity(images.images.len());
    for (done, image) in images.images.iter().enumerate() {
        progress(done as u64);
        let pixels = [image.decode()?];
        let prepared = network.inputs(&pixels)?;
        let outputs = network.run(&prepared.inputs)?;
        let mut detections = network.decode(&outputs, &prepared.geometries, &thresholds)?;
        let (Some(geometry), Some(detections)) = (prepared.geometries.first(), detections.pop()) else {
            continue;
        };
        // The bounds of fp16 and int8 are far above what the order of operations does.
        if bounds.is_exact() {
            let rounded = network.run(&nudged(&prepared.inputs)?)?;
            rounding.worst.take(&subject.source.head, &outputs, &rounded)?;
            for found in network.decode(&rounded, &[*geometry], &thresholds)? {
                let same = Agreement::new(&detections, &found, &agreement_bounds(bounds));
                rounding.agreed.get_or_insert(Agreement::EMPTY).merge(&same);
            }
        }
        let fed = preprocess(&subject.detector.input, &pixels)?;
        let Some(geometry) = fed.geometries.into_iter().next() else { continue };
        references.push(Reference { inputs: fed.inputs, geometry, outputs, detections });
    }
    Ok((references, rounding))
}

/// What the delivered graph itself gives for each image alone.
fn own_references(
    network: &mut Network<'_>,
    subject: &Subject<'_>,
    references: &[Reference],
    bounds: &Bounds,
) -> Result<Vec<Reference>, Error> {
    let thresholds = thresholds(subject.detector, bounds);
    let own = references.iter().map(|reference| {
        let (inputs, geometry) = (reference.inputs.clone(), reference.geometry);
        let outputs = network.run(&inputs)?;
        let detections = network.decode(&outputs, &[geometry], &thresholds)?.pop().unwrap_or_default();
        Ok(Reference { inputs, geometry, outputs, detections })
    });
    own.collect()
}

/// The same inputs with every floating-point number changed by a millionth, up and down in turn.
pub(super) fn nudged(inputs: &Outputs) -> Result<Outputs, Error> {
    let nudge = |(name, tensor): &(String, Tensor)| {
        if tensor.dtype() != DataType::F32 {
            return Ok((name.clone(), tensor.clone()));
        }
        let values = tensor.as_f32()?;
        let nudged = values
            .iter()
            .enumerate()
            .map(|(at, value)| value * if at % 3 == 0 { 1.0 + 1e-6 } else { 1.0 - 1e-6 });
        Ok((name.clone(), Tensor::from_f32(tensor.shape(), nudged.collect())?))
    };
    inputs.iter().map(nudge).collect()
}

fn agreement_bounds(bounds: &Bounds) -> AgreementBounds {
    AgreementBounds {
        confidence: bounds.confidence,
        moved_iou: bounds.iou,
        score_difference: bounds.score,
        ..AgreementBounds::default()
    }
}

fn run_trial(
    network: &mut Network<'_>,
    subject: &Subject<'_>,
    trial: &Trial,
    references: &[Reference],
    rounding: &Rounding,
    bounds: &Bounds,
) -> Result<Vec<Check>, Error> {
    let thresholds = thresholds(subject.detector, bounds);
    let agreement_bounds = agreement_bounds(bounds);
    let mut worst = Worst::default();
    let mut agreed = Agreement::EMPTY;
    for batch in &trial.batches {
        let rows: Vec<&[_]> = batch.iter().map(|at| references[*at].inputs.as_slice()).collect();
        let outputs = network.run(&stacked(&rows)?)?;
        for (at, place) in batch.iter().enumerate() {
            let reference = &references[*place];
            let actual = row(&outputs, at)?;
            // A graph with more or less inside has other outputs: then only what is found can be compared.
            if has_same_outputs(&reference.outputs, &actual) {
                worst.take(&subject.source.head, &reference.outputs, &actual)?;
            }
            for found in network.decode(&actual, &[reference.geometry], &thresholds)? {
                agreed.merge(&Agreement::new(&reference.detections, &found, &agreement_bounds));
            }
        }
    }
    let mut checks = worst.checks(subject.name, &trial.title, rounding, bounds);
    checks.extend(agreement_checks(subject, trial, &agreed, rounding, bounds));
    Ok(checks)
}

fn has_same_outputs(reference: &Outputs, actual: &Outputs) -> bool {
    reference.len() == actual.len() && reference.iter().all(|(name, _)| actual.iter().any(|(n, _)| n == name))
}

/// How far an output is from its reference over a trial, relative to 1 or to the reference's scale.
struct Distance {
    name: String,
    largest: f64,
    /// The largest mean of an image.
    mean: f64,
}

/// The distance of each output over a trial.
#[derive(Default)]
struct Worst {
    outputs: Vec<Distance>,
    /// Whether queries stood in another order than in the reference and were matched.
    reordered: bool,
}

impl Worst {
    fn take(&mut self, head: &detect::Head, reference: &Outputs, actual: &Outputs) -> Result<(), Error> {
        let (actual, reordered) = aligned(head, reference, actual)?;
        self.reordered |= reordered;
        for found in runtime::compare_outputs(reference, &actual)? {
            let comparison = &found.comparison;
            let relative = |difference: f64| {
                if comparison.unmatched > 0 { f64::INFINITY } else { difference / comparison.scale.max(1.0) }
            };
            let (largest, mean) = (relative(comparison.max_abs), relative(comparison.mean_abs));
            match self.outputs.iter_mut().find(|known| known.name == found.name) {
                Some(known) => {
                    (known.largest, known.mean) = (known.largest.max(largest), known.mean.max(mean));
                }
                None => self.outputs.push(Distance { name: found.name, largest, mean }),
            }
        }
        Ok(())
    }

    fn checks(&self, subject: &str, title: &str, rounding: &Rounding, bounds: &Bounds) -> Vec<Check> {
        let note = if self.reordered { ", queries matched" } else { "" };
        let check = |output: &Distance| {
            let subject = format!("{subject}, {title}");
            let Some(bound) = bounds.tensor else {
                let what = format!("`{}`: mean difference{note}", output.name);
                return Check::of(&what, &subject, output.mean, Bound::AtMost(bounds.mean), "");
            };
            let what = format!("`{}`: largest difference{note}", output.name);
            let most = rounding.tensor(&output.name, bound);
            // Differences are relative to the output's own scale: 1 is all of it.
            if most >= 1.0 && most > bound {
                return Check::not_run(&what, &subject, TOO_SHAKY);
            }
            Check::of(&what, &subject, output.largest, Bound::AtMost(most), "")
        };
        self.outputs.iter().map(check).collect()
    }
}

fn agreement_checks(
    subject: &Subject<'_>,
    trial: &Trial,
    agreed: &Agreement,
    rounding: &Rounding,
    bounds: &Bounds,
) -> Vec<Check> {
    let what = format!("{}, {}", subject.name, trial.title);
    let compared = agreed.matched + agreed.missed;
    let check = |name: &str, count: fn(&Agreement) -> usize| {
        let name = format!("detections {name} (of {compared})");
        let most = rounding.detections(count, compared, bounds.differing);
        // A bound that nothing can exceed shows nothing.
        if most > 0.0 && most >= compared as f64 {
            return Check::not_run(&name, &what, TOO_SHAKY);
        }
        Check::of(&name, &what, count(agreed) as f64, Bound::AtMost(most), "")
    };
    vec![
        check("missed", |agreed| agreed.missed),
        check("extra", |agreed| agreed.extra),
        check(&format!("moved below IoU {}", bounds.iou), |agreed| agreed.moved),
        check(&format!("rescored by more than {}", bounds.score), |agreed| agreed.rescored),
    ]
}

fn thresholds(detector: &Detector, bounds: &Bounds) -> Thresholds {
    // Below the confidence that counts: what is just above it in one run may be just below it in the other.
    Thresholds { confidence: bounds.confidence / 2.0, ..Thresholds::for_head(&detector.head) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_gives_way_only_to_the_networks_own_rounding() {
        let steady = Rounding::default();
        assert_eq!((steady.tensor("logits", 1e-4), steady.detections(|a| a.moved, 50, 0.0)), (1e-4, 0.0));
        assert!((steady.detections(|a| a.moved, 50, 0.05) - 2.0).abs() < 1e-12);
        let shaky = Rounding {
            worst: Worst {
                outputs: vec![Distance { name: "logits".into(), largest: 0.01, mean: 0.001 }],
                reordered: false,
            },
            agreed: Some(Agreement { matched: 100, moved: 2, ..Agreement::EMPTY }),
        };
        assert!((shaky.tensor("logits", 1e-4) - 0.03).abs() < 1e-12);
        assert!((shaky.tensor("pred_boxes", 1e-4) - 1e-4).abs() < 1e-12);
        let moved = |allowed| shaky.detections(|a| a.moved, 50, allowed);
        assert_eq!((moved(0.0), moved(0.1), shaky.detections(|a| a.missed, 50, 0.0)), (3.0, 5.0, 0.0));
    }

    #[test]
    fn every_batch_is_full_and_every_image_is_seen_alone() {
        let trials = plan(4, &[0, 1, 2], &[0, 1, 2]);
        let shapes: Vec<(&str, Vec<usize>)> = trials
            .iter()
            .map(|trial| (trial.title.as_str(), trial.batches.iter().map(Vec::len).collect()))
            .collect();
        assert_eq!(shapes[0], ("batch 1", vec![1, 1, 1]));
        assert_eq!(shapes[1], ("batch 2", vec![2]));
        assert_eq!(shapes[2], ("batch 4", vec![4]));
        assert_eq!(trials[3].batches, [[0, 0, 0, 0]]);
        assert_eq!(trials[4].batches, [[0, 2, 1, 0]]);
        assert_eq!(plan(1, &[0, 1, 2], &[0, 1, 2]).len(), 1);
        // Frames of one batch are of one size.
        assert_eq!(plan(4, &[0, 1, 2], &[0, 2])[2].batches, [[0, 2, 0, 2]]);
    }
}

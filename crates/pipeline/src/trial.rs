//! The first run of a fresh graph: a network that gives no numbers, or the same ones whatever it sees, is not handed on.
//!
//! The graph runs once at batch 1 and once at batch 3, on the embedded backend. At the full size that may take longer than
//! a hundred exports, so a checkpoint's graph is run as a *twin*: the same exporter and the very weights of the file,
//! which the twin only refers to, at a small input size. A network that has no smaller size runs at its own. What depends
//! on the size is checked too: the shapes of the graph's outputs against its head.

use std::path::{Path, PathBuf};

use detect::{Activation, Background, DenseLayout, Detector, Head, Image, Thresholds};
use graph::{External, Model, Tensor};

use crate::Error;
use crate::images::{ImageSet, turned};
use crate::mapped::map_file;
use crate::network::{Network, Outputs, row};

/// The batches that are run.
const BATCHES: [usize; 2] = [1, 3];
/// The longer side of a twin; a graph that is not larger runs itself.
const TWIN_SIDE: u32 = 256;
/// Sides of a twin are multiples of this, as every pyramid wants them.
const TWIN_STEP: u32 = 64;
/// Weights from this many bytes on are not written again for the twin.
const SHARED: usize = 1 << 14;
/// The name by which a twin refers to the file that holds its weights.
const WEIGHTS: &str = "model.onnx.data";
/// The backend that runs them.
const BACKEND: &str = "embedded";

/// The size (width, height) at which a twin of this detector's graph runs; `None` when the graph is small itself.
pub(crate) fn twin_size(detector: &Detector) -> Option<(u32, u32)> {
    let (width, height) = (detector.input.width, detector.input.height);
    let longer = width.max(height);
    if longer <= TWIN_SIDE {
        return None;
    }
    let side = |side: u32| {
        let reduced = u64::from(side) * u64::from(TWIN_SIDE) / u64::from(longer);
        (reduced as u32).next_multiple_of(TWIN_STEP)
    };
    Some((side(width), side(height)))
}

/// Runs the graph in `file`, or `twin` with the weights of that file; `work` is a folder for what that takes, best on the
/// same disk.
///
/// # Errors
/// [`Error::Trial`] with what is wrong; those of the backend when the graph does not run at all.
pub(crate) fn trial(
    file: &Path,
    work: &Path,
    model: &Model,
    detector: &Detector,
    twin: Option<(Model, Detector)>,
) -> Result<(), Error> {
    shapes_fit(model, detector)?;
    let at = |path: &Path, source| Error::Io { path: path.to_owned(), source };
    let made = tempfile::Builder::new().prefix(".trial-").tempdir_in(work);
    let place = made.map_err(|source| at(work, source))?;
    // A library may go by the name, and wants external data in the graph's own folder.
    let whole = place.path().join(if twin.is_some() { WEIGHTS } else { "model.onnx" });
    std::fs::hard_link(file, &whole)
        .or_else(|_| std::fs::copy(file, &whole).map(drop))
        .map_err(|source| at(&whole, source))?;
    match twin {
        None => run(&whole, detector, &batches(model, detector)),
        Some((twin, detector)) => {
            let path = place.path().join("twin.onnx");
            write_twin(twin, &whole, &path)?;
            run(&path, &detector, &BATCHES)
        }
    }
}

/// Writes the twin, its large weights as references into the file that holds them already.
fn write_twin(mut twin: Model, whole: &Path, path: &Path) -> Result<(), Error> {
    let bytes = map_file(whole)?;
    let start = bytes.as_ptr() as usize;
    let stored = graph::onnx::read_structure(bytes.clone())?.graph.initializers;
    for (name, tensor) in &mut twin.graph.initializers {
        let Some(known) = stored.get(name) else { continue };
        let same = known.dtype() == tensor.dtype() && known.shape() == tensor.shape();
        if !same || known.byte_len() < SHARED {
            continue;
        }
        // The tensor is a slice of the map: where it begins there is where it begins in the file.
        let offset = (known.bytes().as_ptr() as usize).checked_sub(start).filter(|at| *at < bytes.len());
        let Some(offset) = offset else { continue };
        let external = External {
            location: WEIGHTS.into(),
            offset: offset as u64,
            length: Some(known.byte_len() as u64),
        };
        *tensor = Tensor::unresolved(known.dtype(), known.shape(), external)?;
    }
    let at = |source| Error::Io { path: PathBuf::from(path), source };
    let mut out = std::io::BufWriter::new(std::fs::File::create(path).map_err(at)?);
    graph::onnx::write_referring(&twin, &mut out)?;
    std::io::Write::flush(&mut out).map_err(at)
}

/// The batches that the graph takes.
fn batches(model: &Model, detector: &Detector) -> Vec<usize> {
    let input = model.graph.inputs.iter().find(|input| input.name == detector.input.tensor);
    let fixed = input.and_then(|input| input.shape.as_ref()?.first()?.fixed());
    fixed.map_or_else(|| BATCHES.to_vec(), |batch| vec![batch])
}

fn run(path: &Path, detector: &Detector, batches: &[usize]) -> Result<(), Error> {
    let scenes = ImageSet::built_in();
    let mut scenes = scenes.images.iter().map(crate::ImageFile::decode).collect::<Result<Vec<Image>, _>>()?;
    if let (Some(first), true) = (scenes.first(), detector.input.frames.is_some()) {
        scenes = vec![first.clone(), turned(first)?];
    }
    let mut network = Network::load(path, detector, BACKEND, None)?;
    for count in batches.iter().copied() {
        let images: Vec<Image> = scenes.iter().cycle().take(count).cloned().collect();
        let prepared = network.inputs(&images)?;
        let outputs = network.run(&prepared.inputs)?;
        sound(&outputs, detector, count)?;
        let decoded = network.decode(&outputs, &prepared.geometries, &Thresholds::for_head(&detector.head));
        decoded
            .map_err(|error| refused(format!("its outputs do not fit its head: {}", crate::chain(&error))))?;
    }
    Ok(())
}

fn refused(reason: String) -> Error {
    Error::Trial { reason }
}

/// Whether the outputs hold numbers that depend on the image.
fn sound(outputs: &Outputs, detector: &Detector, batch: usize) -> Result<(), Error> {
    let read = detector.head.outputs();
    // A graph that suppresses its own boxes may rightly find nothing in both scenes.
    let may_be_empty = matches!(detector.head, Head::EndToEndParts { .. });
    for (name, tensor) in outputs {
        let Ok(values) = tensor.to_f32() else { continue };
        if values.iter().any(|value| value.is_nan()) {
            let count = values.iter().filter(|value| value.is_nan()).count();
            return Err(refused(format!("output `{name}` holds {count} NaN at batch {batch}")));
        }
        if may_be_empty || !read.contains(&name.as_str()) {
            continue;
        }
        if values.iter().any(|value| value.is_infinite()) {
            return Err(refused(format!("output `{name}` holds infinite numbers at batch {batch}")));
        }
        let same = |a: &[f32]| a.windows(2).all(|pair| pair[0].total_cmp(&pair[1]).is_eq());
        let size = values.len() / batch.max(1);
        if size > 1 && values.chunks(size).any(same) {
            return Err(refused(format!("output `{name}` is the same number everywhere at batch {batch}")));
        }
    }
    if batch > 1 && !may_be_empty {
        let (first, second) = (row(outputs, 0)?, row(outputs, 1)?);
        let name = |index: usize| first[index].0.as_str();
        let constant = (0..first.len()).find(|at| read.contains(&name(*at)) && first[*at].1 == second[*at].1);
        if let Some(at) = constant {
            return Err(refused(format!("output `{}` is the same for two different images", name(at))));
        }
    }
    Ok(())
}

/// Whether the declared shapes of the outputs are what the head reads, for every batch.
fn shapes_fit(model: &Model, detector: &Detector) -> Result<(), Error> {
    let classes = detector.labels.len();
    let shape = |name: &str| {
        let output = model.graph.outputs.iter().find(|output| output.name == name);
        let output = output.ok_or_else(|| refused(format!("the graph has no output `{name}`")))?;
        Ok::<_, Error>((
            output,
            output.shape.as_deref().map(|dims| dims.iter().map(graph::Dim::fixed).collect()),
        ))
    };
    let require = |name: &str, axis: usize, wanted: &dyn Fn(usize) -> bool, words: &str| {
        let (output, dims): (_, Option<Vec<Option<usize>>>) = shape(name)?;
        match dims.as_deref() {
            // What is not stated shows when it runs.
            None => Ok(()),
            Some([_, _, _]) if dims.as_ref().and_then(|dims| dims[axis]).is_none_or(wanted) => Ok(()),
            Some(_) => Err(refused(format!("output {output} does not fit its head: {words}"))),
        }
    };
    match &detector.head {
        Head::Queries { logits, boxes, activation, .. } => {
            let extra = usize::from(*activation == Activation::Softmax { background: Background::Last });
            require(logits, 2, &|size| size >= classes + extra, &format!("{classes} classes"))?;
            require(boxes, 2, &|size| size == 4, "4 numbers a box")
        }
        Head::Dense { output, layout, objectness, .. } => {
            let axis = if *layout == DenseLayout::ChannelsFirst { 1 } else { 2 };
            let least = 4 + usize::from(*objectness) + classes;
            require(output, axis, &|size| size >= least, &format!("4 numbers and {classes} classes"))
        }
        Head::EndToEnd { output, .. } => require(output, 2, &|size| size == 6, "6 numbers a row"),
        Head::EndToEndParts { .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use detect::{ChannelOrder, ElementType, Filter, ImageInput, Labels, Resize, Selection};
    use graph::{Builder, DataType, Dim, Value};

    use super::*;

    const SIDE: usize = 32;

    /// What makes a good network a bad one.
    type Change = fn(&mut Builder, Value) -> Value;

    fn detector(side: u32) -> Detector {
        let input = ImageInput {
            tensor: "pixel_values".into(),
            width: side,
            height: side,
            channels: ChannelOrder::Rgb,
            resize: Resize::Stretch,
            filter: Filter::Bilinear,
            antialias: true,
            scale: 1.0 / 255.0,
            mean: [0.0; 3],
            std: [1.0; 3],
            dtype: ElementType::F32,
            mask: None,
            image_size: None,
            frames: None,
        };
        let head = Head::queries(Activation::Sigmoid, Selection::TopK { count: 3 });
        Detector::new("test", Labels::from_lines("a\nb\nc\nd\n").unwrap(), input, head)
    }

    /// A "network" whose queries are columns of the image's mean row: `change` makes it a bad one.
    fn model(side: usize, change: impl Fn(&mut Builder, Value) -> Value) -> Model {
        let mut b = Builder::new("g", 17);
        let pixels =
            b.input("pixel_values", DataType::F32, vec![Dim::batch(), 3.into(), side.into(), side.into()]);
        let rows = b.reduce_mean(&pixels, &[2], false);
        let weight = b.weight("weight", Tensor::from_f32([side, 4], vec![0.01; side * 4]).unwrap());
        let slope = b.floats(&[4], vec![0.1, 0.2, 0.3, 0.4]);
        let boxes = b.matmul(&rows, &weight);
        let boxes = b.mul(&boxes, &slope);
        let boxes = change(&mut b, boxes);
        b.output("pred_boxes", &boxes);
        let logits = b.neg(&boxes);
        b.output("logits", &logits);
        b.finish("test", "1").unwrap()
    }

    fn tried(model: &Model, detector: &Detector, twin: Option<(Model, Detector)>) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fresh");
        graph::onnx::write(model, &mut std::fs::File::create(&path).unwrap()).unwrap();
        let result = trial(&path, folder.path(), model, detector, twin).map_err(|error| {
            assert_eq!(error.exit_code(), 20, "{error}");
            error.to_string()
        });
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
        result
    }

    #[test]
    fn a_sound_graph_passes_and_bad_ones_are_named() {
        let small = detector(SIDE as u32);
        tried(&model(SIDE, |_, boxes| boxes), &small, None).unwrap();
        let cases: [(&str, Change); 4] = [
            ("NaN", |b, boxes| {
                let zero = b.scalar(0.0);
                let none = b.mul(&boxes, &zero);
                b.div(&none, &none)
            }),
            ("infinite", |b, boxes| {
                let zero = b.scalar(0.0);
                b.div(&boxes, &zero)
            }),
            ("the same number everywhere", |b, boxes| {
                let zero = b.scalar(0.0);
                b.mul(&boxes, &zero)
            }),
            ("the same for two different images", |b, boxes| {
                let zero = b.scalar(0.0);
                let slope = b.floats(&[4], vec![0.1, 0.2, 0.3, 0.4]);
                let none = b.mul(&boxes, &zero);
                b.add(&none, &slope)
            }),
        ];
        for (expected, change) in cases {
            let reason = tried(&model(SIDE, change), &small, None).unwrap_err();
            assert!(reason.contains(expected), "{expected}: {reason}");
        }
    }

    #[test]
    fn shapes_that_the_head_does_not_read_are_named() {
        let mut five = detector(SIDE as u32);
        five.labels = Labels::from_lines("a\nb\nc\nd\ne\n").unwrap();
        let reason = tried(&model(SIDE, |_, boxes| boxes), &five, None).unwrap_err();
        assert!(reason.contains("5 classes"), "{reason}");
    }

    #[test]
    fn a_twin_runs_with_the_weights_of_the_file() {
        let large = model(SIDE, |_, boxes| boxes);
        let damaged = |bad: f32| {
            let mut model = large.clone();
            // Large enough to be shared.
            let weight = Tensor::from_f32([SIDE, 4], vec![bad; SIDE * 4]).unwrap();
            model.graph.initializers.insert("weight".into(), weight);
            let more = Tensor::from_f32([128, 64], vec![bad; 128 * 64]).unwrap();
            model.graph.initializers.insert("more".into(), more);
            model
        };
        // The twin holds zeros of its own, the file other values: what runs is the file's.
        let folder = tempfile::tempdir().unwrap();
        let (whole, twin) = (folder.path().join(WEIGHTS), folder.path().join("twin.onnx"));
        graph::onnx::write(&damaged(0.5), &mut std::fs::File::create(&whole).unwrap()).unwrap();
        write_twin(damaged(0.0), &whole, &twin).unwrap();
        let read = graph::onnx::read(map_file(&twin).unwrap(), &|name| {
            map_file(&folder.path().join(name)).map_err(|error| error.to_string())
        });
        let values = read.unwrap().graph.initializers["more"].to_f32().unwrap();
        assert!(values.iter().all(|value| value.to_bits() == 0.5_f32.to_bits()));
        assert!(std::fs::metadata(&twin).unwrap().len() < 8 << 10);
    }

    #[test]
    fn twins_are_small_and_keep_the_ratio() {
        let size = |width, height| {
            let mut detector = detector(640);
            (detector.input.width, detector.input.height) = (width, height);
            twin_size(&detector)
        };
        assert_eq!(size(640, 640), Some((256, 256)));
        assert_eq!(size(1280, 720), Some((256, 192)));
        assert_eq!(size(256, 128), None);
        assert_eq!(size(8192, 32), Some((256, 64)));
    }
}

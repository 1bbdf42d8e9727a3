//! Detectors that Ultralytics saved: `YOLOv3u` to YOLO26 and its RT-DETR, from the `.pt` file alone.
//!
//! Reference: the package `ultralytics` (docs.ultralytics.com). Such a file is a pickled instance of the network itself. It
//! is read as data ([`read`]): classes become rows of a table ([`registry`]), widths, strides and shortcuts come from the
//! attributes of the pickled modules, so that networks of the user's own proportions need no scale tables. Output and
//! metadata are those of the library's own ONNX export, end-to-end where the head allows it.

mod attention;
mod conv;
mod csp;
mod describe;
mod head;
mod module;
mod network;
mod pools;
mod read;
mod registry;
mod rtdetr;
mod stages;
mod torch_nn;
mod transformer;

use detect::{BoxFormat, DenseLayout, Detector, ImageInput};
use graph::{Builder, DataType, Dim};

use super::architectures;
use crate::checkpoint::Node;
use crate::checkpoint::pickle::{Document, state_dict};
use crate::weights::Weights;
use crate::{Error, ExportOptions, Exported, Files};
use module::Layer;
use network::Head;

/// The name of the family among [`architectures`].
pub(crate) const NAME: &str = "ultralytics";

const INPUT: &str = "images";
const OUTPUT: &str = "output0";
/// Thresholds of the library's own predictions.
const CONFIDENCE: f32 = 0.25;
const IOU: f32 = 0.7;

/// Classes of networks that have an exporter.
const NETWORKS: &[&str] = &["DetectionModel", "RTDETRDetectionModel", "YOLOv10DetectionModel"];
/// Classes of networks that find something else than boxes.
const OTHERS: &[&str] = &[
    "ClassificationModel",
    "DepthModel",
    "OBBModel",
    "PoseModel",
    "SegmentationModel",
    "SemanticSegmentationModel",
];

/// Exports the one `.pt` file of a source; `None` when there is none, or it holds no pickled network.
///
/// # Errors
/// As [`crate::export`].
pub(crate) fn export(files: &dyn Files, options: &ExportOptions) -> Result<Option<Exported>, Error> {
    let Some(file) = candidate(files) else { return Ok(None) };
    let document = Document::read(files, &file)?;
    let Some(network) = network(document.root()) else { return Ok(None) };
    let class = network.class().unwrap_or_default();
    let name = class.strip_prefix("ultralytics.").and_then(|class| class.rsplit('.').next());
    match name {
        Some(name) if NETWORKS.contains(&name) => {}
        Some(name) if OTHERS.contains(&name) => return Err(Error::NotADetector { class: name.to_owned() }),
        _ => return Err(unknown(name.unwrap_or(class))),
    }
    let checkpoint = state_dict(&document, network)?;
    let tree = read::module(&file, network)?;
    let weights = Weights::new(&checkpoint, &[], options.exact)?;
    let root = Layer { file: &file, module: &tree, w: weights };
    let head = Head::find(&root, options.deformable)?;

    let mut warnings = Vec::new();
    let labels = describe::labels(files, network, options, head.classes(), &mut warnings)?;
    let input = describe::input(document.root(), network, &root, &head, options)?;
    let detector = Detector::new(describe::architecture(network, &head), labels, input, described(&head));
    detector.validate()?;

    let mut builder = Builder::new(&detector.architecture, options.opset);
    build(&mut builder, &root, &head, &detector.input)?;
    root.w.ignore(|name| !head.needs(name));
    let metadata = describe::metadata(document.root(), &root, &detector);
    crate::export::finish(builder, &root.w, detector, warnings, metadata).map(Some)
}

/// The file that holds the network.
fn candidate(files: &dyn Files) -> Option<String> {
    let is_network = |name: &String| {
        let extension = std::path::Path::new(name).extension();
        !name.contains('/') && extension.is_some_and(|extension| extension == "pt")
    };
    let mut names: Vec<String> = files.names().into_iter().filter(is_network).collect();
    match names.len() {
        1 => names.pop(),
        // A folder of a training run.
        _ => names.into_iter().find(|name| name == "best.pt"),
    }
}

/// The network of a file: the averaged one of a training run before the trained one.
fn network(root: Node<'_>) -> Option<Node<'_>> {
    let sections = ["ema", "model"].into_iter().filter_map(|section| root.get(section));
    sections.chain([root]).find(|node| read::is_module(*node))
}

fn unknown(class: &str) -> Error {
    Error::UnknownArchitecture { architecture: class.to_owned(), known: architectures() }
}

fn build(b: &mut Builder, root: &Layer<'_>, head: &Head<'_>, input: &ImageInput) -> Result<(), Error> {
    let (height, width) = (input.height as usize, input.width as usize);
    let shape = vec![Dim::batch(), 3.into(), height.into(), width.into()];
    let pixels = b.input(INPUT, DataType::F32, shape);
    let output = network::build(b, root, head, &pixels)?;
    b.output(OUTPUT, &output);
    Ok(())
}

/// How the output becomes boxes.
fn described(head: &Head<'_>) -> detect::Head {
    let output = OUTPUT.to_owned();
    match head {
        Head::Detect(head) if head.end_to_end => {
            detect::Head::EndToEnd { output, format: BoxFormat::XyxyPixels }
        }
        Head::Detect(_) => detect::Head::Dense {
            output,
            layout: DenseLayout::ChannelsFirst,
            objectness: false,
            format: BoxFormat::CxcywhPixels,
            activation: detect::Activation::None,
            iou: Some(IOU),
            confidence: CONFIDENCE,
        },
        Head::RtDetr(_) => detect::Head::EndToEnd { output, format: BoxFormat::CxcywhNormalized },
    }
}

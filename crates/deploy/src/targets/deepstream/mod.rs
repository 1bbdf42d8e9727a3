//! `DeepStream`: the configuration of nvinfer, a bounding-box parser for the detector's head, and three runs of
//! deepstream-app.
//!
//! nvinfer resizes, pads with black, and knows one scale and one mean a channel. What a detector wants beyond that is put
//! into a graph of its own, `model/<name>_video.onnx`; it is never rounded off in a config file. Keys and structures
//! are those of `DeepStream` 9.1's sources (gst-nvinfer and deepstream-app config parsers,
//! `nvdsinfer_custom_impl.h`).

mod app;
pub(super) mod files;
mod infer;
mod names;
mod parser;

use detect::Head;

use super::onnxruntime::filled;
use super::video::{Scaler, Video};
use super::{Deployment, Target, TargetModel};
use crate::{Error, FileTree, Precision, paths};
use infer::{Cluster, Infer};
use names::Names;

/// The target `deepstream`.
pub(super) struct DeepStream;

const NAME: &str = "deepstream";

const NVINFER: Scaler = Scaler { target: NAME, std_by_channel: false, corner: true, image_size: false };

/// Labels for nvinfer, where `config/labels.txt` cannot be read as it is.
const OWN_LABELS: &str = "config/labels_deepstream.txt";

impl Target for DeepStream {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "nvinfer and deepstream-app configs, and the source of a bounding-box parser for this head."
    }

    fn models(&self, deployment: &Deployment<'_>) -> Result<Vec<TargetModel>, Error> {
        Ok(Video::of(deployment, NVINFER)?.models(deployment, &graphs(deployment)))
    }

    fn render(&self, deployment: &Deployment<'_>) -> Result<FileTree, Error> {
        let video = Video::of(deployment, NVINFER)?;
        let names = Names::of(deployment.name);
        let mut tree = FileTree::new();
        let labels = labels(deployment, &mut tree)?;
        let precisions = std::iter::once(Precision::Fp32)
            .chain(deployment.precisions.iter().copied().filter(|precision| *precision != Precision::Fp32));
        let configs: Vec<Infer<'_>> =
            precisions.map(|precision| Infer::new(deployment, &video, &names, labels, precision)).collect();
        for config in &configs {
            tree.add(config.path(), config.text())?;
        }
        let most = configs.first().map_or(deployment.max_batch, Infer::batch);
        for run in app::Run::ALL {
            tree.add(run.path(deployment.name), run.text(deployment, most))?;
        }
        tree.add(names.source(), parser::source(&names, deployment.name, &video.detector))?;
        tree.add("parser/Makefile", parser::makefile(&names, deployment.name))?;
        tree.add("config/deepstream.md", readme(deployment, &video, &names, &configs))?;
        Ok(tree)
    }
}

/// The precisions that are graphs of their own; INT8 is the first graph with a calibration cache.
fn graphs(deployment: &Deployment<'_>) -> Vec<Precision> {
    let half = deployment.precisions.contains(&Precision::Fp16);
    std::iter::once(Precision::Fp32).chain(half.then_some(Precision::Fp16)).collect()
}

/// The labels' path. nvinfer takes what follows a `;` for another attribute of the object.
fn labels(deployment: &Deployment<'_>, tree: &mut FileTree) -> Result<&'static str, Error> {
    let text = deployment.detector.labels.to_lines();
    if !text.contains(';') {
        return Ok(paths::LABELS);
    }
    tree.add(OWN_LABELS, text.replace(';', ","))?;
    Ok(OWN_LABELS)
}

/// How nvinfer suppresses what the parser gives.
fn cluster(head: &Head) -> Cluster {
    match head {
        Head::Dense { iou: Some(iou), .. } | Head::Queries { iou: Some(iou), .. } => Cluster::Nms(*iou),
        _ => Cluster::None,
    }
}

fn readme(deployment: &Deployment<'_>, video: &Video, names: &Names, configs: &[Infer<'_>]) -> String {
    let (width, height) = deployment.frame;
    let mut graph = String::new();
    if video.is_made() {
        graph.push_str(
            "\n`@ONNX@` is the package's graph with the part of preprocessing in it that nvinfer has no key\n\
             for (padding of another colour than black, a deviation for each channel, a mask, the size of the image).\n",
        );
    }
    if video.is_for_one_size() {
        graph.push_str(
            "It is made for frames of @FRAME@ pixels, to which the configs set the muxer. For streams of another size:\n\
             `sightline deploy PACKAGE --target deepstream --frame WIDTHxHEIGHT`.\n",
        );
    }
    let frame = format!("{width}x{height}");
    let graph = filled(&graph, &[("ONNX", &video.onnx(deployment, Precision::Fp32)), ("FRAME", &frame)]);
    let rows: Vec<String> = configs.iter().map(Infer::readme_row).collect();
    let commands: Vec<String> = configs.iter().map(Infer::engine_command).collect();
    filled(
        include_str!("README.md.in"),
        &[
            ("NAME", deployment.name.as_str()),
            ("GRAPH", &graph),
            ("CONFIGS", &rows.join("\n")),
            ("COMMANDS", &commands.join("\n")),
            ("SOURCE", &names.source()),
            ("LIBRARY", &names.library()),
            ("SYMBOL", &names.symbol),
            ("BATCH", &configs.first().map_or(deployment.max_batch, Infer::batch).to_string()),
            (
                "CLIP",
                if cluster(&video.detector.head) == Cluster::None { "" } else { include_str!("clip.md.in") },
            ),
        ],
    )
}

//! Isaac ROS: a launch file that encodes camera images as the detector wants them, runs the network with `TensorRTNode`, and
//! decodes with one of Isaac ROS's own nodes where one fits the head.
//!
//! Nodes, parameters and topics are those of the sources of Isaac ROS 4.4 and 4.5 (`isaac_ros_dnn_inference`,
//! `isaac_ros_object_detection`).

mod decoder;
mod launch;

use detect::{Head, Resize};

use super::onnxruntime::filled;
use super::video::{Scaler, Video};
use super::{Deployment, Target, TargetModel};
use crate::{Error, FileTree, Precision};
use decoder::Decoder;

/// The target `isaac-ros`.
pub(super) struct IsaacRos;

const NAME: &str = "isaac-ros";
const FOLDER: &str = "isaac_ros";

/// The image encoder has a deviation for each channel and pads around the middle; `RtDetrPreprocessorNode` tells the size.
const ENCODER: Scaler = Scaler { target: NAME, std_by_channel: true, corner: false, image_size: true };

impl Target for IsaacRos {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "A launch file: image encoder, TensorRTNode, and Isaac ROS's decoder where one fits."
    }

    fn models(&self, deployment: &Deployment<'_>) -> Result<Vec<TargetModel>, Error> {
        Ok(video(deployment)?.models(deployment, &[Precision::Fp32]))
    }

    fn render(&self, deployment: &Deployment<'_>) -> Result<FileTree, Error> {
        let video = video(deployment)?;
        let decoder = decoder::of(&video.detector, deployment.outputs);
        let mut tree = FileTree::new();
        let file = format!("{FOLDER}/{}.launch.py", deployment.name);
        tree.add(file, launch::text(deployment, &video, decoder.as_ref()))?;
        tree.add(format!("{FOLDER}/detector.json"), video.detector.to_json())?;
        tree.add(format!("{FOLDER}/README.md"), readme(deployment, &video, decoder.as_ref()))?;
        Ok(tree)
    }
}

/// The graph that the launch file runs.
fn video(deployment: &Deployment<'_>) -> Result<Video, Error> {
    // A padded picture has another size than the image, which `RtDetrPreprocessorNode` is not made for.
    let image_size = deployment.detector.input.resize == Resize::Stretch;
    Video::of(deployment, Scaler { image_size, ..ENCODER })
}

fn readme(deployment: &Deployment<'_>, video: &Video, decoder: Option<&Decoder>) -> String {
    let (width, height) = deployment.frame;
    let mut graph = String::new();
    if video.is_made() {
        graph.push_str(
            "It runs `@ONNX@`: the package's graph with the part of preprocessing in it that the encoder has\n\
             no parameter for.\n",
        );
    }
    if video.is_for_one_size() {
        graph.push_str(
            "That graph is made for images of @WIDTH@x@HEIGHT@ pixels. For a camera of another size:\n`sightline deploy PACKAGE \
             --target isaac-ros --frame WIDTHxHEIGHT`.\n",
        );
    }
    let (width, height) = (width.to_string(), height.to_string());
    let onnx = video.onnx(deployment, Precision::Fp32);
    let values = [("ONNX", onnx.as_str()), ("WIDTH", &width), ("HEIGHT", &height)];
    let graph = filled(&graph, &values);
    let results = decoder.map_or_else(
        || {
            let head = match &video.detector.head {
                Head::Queries { .. } => "logits and boxes of queries",
                Head::Dense { .. } => "rows that still have to be suppressed",
                Head::EndToEnd { .. } | Head::EndToEndParts { .. } => "boxes that are suppressed already",
            };
            format!(
                "No decoder of Isaac ROS fits this head ({head}). The raw tensors come out on the topic\n`tensor_sub` \
                 (`isaac_ros_tensor_list_interfaces/TensorList`), under the names of the table; `detector.json`\nbeside this file \
                 says how they become boxes, and `onnxruntime/python/detect.py` shows it in Python."
            )
        },
        |decoder| decoder.results(&video.detector),
    );
    let inputs = launch::inputs(video).into_iter().map(|name| (name, "input"));
    let outputs = launch::outputs(deployment, video).into_iter().map(|name| (name, "output"));
    let tensors: Vec<String> =
        inputs.chain(outputs).map(|(name, what)| format!("| `{name}` | {what} |")).collect();
    filled(
        include_str!("README.md.in"),
        &[
            ("NAME", deployment.name.as_str()),
            ("WIDTH", &width),
            ("HEIGHT", &height),
            ("GRAPH", &graph),
            ("RESULTS", &results),
            ("TENSORS", &tensors.join("\n")),
        ],
    )
}

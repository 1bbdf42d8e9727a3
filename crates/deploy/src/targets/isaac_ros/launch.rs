//! The text of the launch file: values in a template, each as a Python literal.

use std::fmt::Write;

use detect::{ChannelOrder, Resize};

use super::decoder::Decoder;
use super::{Deployment, Video, filled};
use crate::Precision;

/// The name that the encoder gives the image tensor.
const ENCODED: &str = "input_tensor";

/// The text of `isaac_ros/<name>.launch.py`.
pub(super) fn text(deployment: &Deployment<'_>, video: &Video, decoder: Option<&Decoder>) -> String {
    let input = &video.detector.input;
    let onnx = video.onnx(deployment, Precision::Fp32);
    let stem = onnx.trim_start_matches("model/").trim_end_matches(".onnx");
    let unbuilt = || format!("benchmarks/engines/{stem}_dynamic_b{}.engine", deployment.max_batch);
    let engine = deployment.built(&onnx, Precision::Fp32).map_or_else(unbuilt, |engine| engine.path.clone());
    // The encoder divides by 255 first: (x / 255 - mean) / std is the description's (x * scale - mean) / std with both
    // numbers in units of scale * 255.
    let unit = input.scale * 255.0;
    let in_units = |numbers: [f32; 3]| floats(numbers.map(|number| number / unit));
    let keeps = matches!(input.resize, Resize::Letterbox { .. });
    let names = outputs(deployment, video);
    let (width, height) = deployment.frame;
    let encoding = if input.channels == ChannelOrder::Rgb { "rgb8" } else { "bgr8" };
    let format = match input.channels {
        ChannelOrder::Rgb => "nitros_tensor_list_nchw_rgb_f32",
        ChannelOrder::Bgr => "nitros_tensor_list_nchw_bgr_f32",
    };
    let inputs = inputs(video);
    // The encoder's tensor goes to TensorRTNode as it is, or through the node that adds the size of the image.
    let (tensors, topic, sizes) = match &input.image_size {
        None => (vec![ENCODED], "/tensor_pub", String::new()),
        Some(size) => (inputs.clone(), "/encoded_tensor", size_node(&input.tensor, size)),
    };
    filled(
        include_str!("launch.py.in"),
        &[
            ("NAME", deployment.name.as_str()),
            ("ONNX", &quoted(&onnx)),
            ("ENGINE", &quoted(&engine)),
            ("TRITON_MODEL", &triton_model(deployment, video)),
            ("FRAME_WIDTH", &width.to_string()),
            ("FRAME_HEIGHT", &height.to_string()),
            ("WIDTH", &input.width.to_string()),
            ("HEIGHT", &input.height.to_string()),
            ("MEAN", &in_units(input.mean)),
            ("STD", &in_units(input.std)),
            ("KEEPS", if keeps { "True" } else { "False" }),
            ("ENCODING", encoding),
            ("TOPIC", topic),
            ("ENCODED", ENCODED),
            ("INPUT_TENSORS", &list(&tensors)),
            ("INPUT_BINDINGS", &list(&inputs)),
            ("INPUT_FORMAT", format),
            ("OUTPUTS", &list(&names)),
            ("THRESHOLD", &threshold(decoder)),
            ("SIZE_NODE", &sizes),
            ("DECODER_NODE", &decoder.map_or_else(String::new, decoder_node)),
        ],
    )
}

/// The model of the repository that takes the same tensors, as Python has it: its graph is the plain one.
fn triton_model(deployment: &Deployment<'_>, video: &Video) -> String {
    if video.is_made() { "None".to_owned() } else { quoted(deployment.name.as_str()) }
}

/// The inputs: the image, and its size where the graph takes it.
pub(super) fn inputs(video: &Video) -> Vec<&str> {
    let input = &video.detector.input;
    std::iter::once(input.tensor.as_str()).chain(input.image_size.as_deref()).collect()
}

/// The outputs in order, those that decoding reads first: TensorRT wants a place for each.
pub(super) fn outputs<'a>(deployment: &Deployment<'a>, video: &'a Video) -> Vec<&'a str> {
    let mut names = video.detector.head.outputs();
    for output in deployment.outputs {
        if !names.contains(&output.name.as_str()) {
            names.push(&output.name);
        }
    }
    names
}

fn threshold(decoder: Option<&Decoder>) -> String {
    match decoder {
        Some(Decoder::RtDetr { confidence, .. } | Decoder::YoloV8 { confidence, .. }) => {
            confidence.to_string()
        }
        None => "0.5".to_owned(),
    }
}

/// The node that puts the size of the image beside it.
fn size_node(image: &str, size: &str) -> String {
    node(
        "rtdetr_preprocessor",
        "isaac_ros_rtdetr",
        "nvidia::isaac_ros::rtdetr::RtDetrPreprocessorNode",
        &[
            ("input_image_tensor_name", quoted(ENCODED)),
            ("output_image_tensor_name", quoted(image)),
            ("output_size_tensor_name", quoted(size)),
            ("image_width", "int(value('input_image_width'))".to_owned()),
            ("image_height", "int(value('input_image_height'))".to_owned()),
            ("use_max_dim_for_orig_size", "False".to_owned()),
        ],
    )
}

fn decoder_node(decoder: &Decoder) -> String {
    let confidence = "float(value('confidence_threshold'))".to_owned();
    match decoder {
        Decoder::RtDetr { boxes, scores, labels, .. } => node(
            "rtdetr_decoder",
            "isaac_ros_rtdetr",
            "nvidia::isaac_ros::rtdetr::RtDetrDecoderNode",
            &[
                ("labels_tensor_name", quoted(labels)),
                ("boxes_tensor_name", quoted(boxes)),
                ("scores_tensor_name", quoted(scores)),
                ("confidence_threshold", confidence),
            ],
        ),
        Decoder::YoloV8 { output, classes, iou, .. } => node(
            "yolov8_decoder",
            "isaac_ros_yolov8",
            "nvidia::isaac_ros::yolov8::YoloV8DecoderNode",
            &[
                ("tensor_name", quoted(output)),
                ("confidence_threshold", confidence),
                ("nms_threshold", float(*iou)),
                ("num_classes", classes.to_string()),
            ],
        ),
    }
}

/// A line of the list of nodes.
fn node(name: &str, package: &str, plugin: &str, parameters: &[(&str, String)]) -> String {
    let mut text = format!(
        "        ComposableNode(\n            name='{name}',\n            package='{package}',\n            plugin='{plugin}',\n            \
         parameters=[{{\n"
    );
    for (key, value) in parameters {
        let _ = writeln!(text, "                '{key}': {value},");
    }
    text + "            }],\n        ),\n"
}

fn list(names: &[&str]) -> String {
    format!("[{}]", names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", "))
}

fn floats(numbers: [f32; 3]) -> String {
    format!("[{}]", numbers.map(float).join(", "))
}

/// A ROS parameter of type double needs a point.
fn float(number: f32) -> String {
    format!("{number:?}")
}

/// A Python literal of a string: names of tensors are anything.
fn quoted(text: &str) -> String {
    let mut literal = String::from("'");
    for c in text.chars() {
        match c {
            '\'' | '\\' => literal.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(literal, "\\u{:04x}", u32::from(c));
            }
            c => literal.push(c),
        }
    }
    literal + "'"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_python() {
        assert_eq!(quoted("output_cov/Sigmoid:0"), "'output_cov/Sigmoid:0'");
        assert_eq!(quoted("a'\\\n\u{e9}"), "'a\\'\\\\\\u000a\u{e9}'");
        assert_eq!(floats([0.0, 1.0, 0.485]), "[0.0, 1.0, 0.485]");
    }
}

//! DALI and the network as one model: encoded images in, detections out.

use super::dali::{self, ENCODED, FRAME_SIZE, Plan};
use super::interface::Tensor;
use super::text_proto::Message;
use super::{FOLDER, LABELS, Listed, Options, about, engine_name, written};
use crate::{Error, FileTree, PackageName};

/// The file that a version of an ensemble consists of: the server wants the folder, and archives keep no empty ones.
const KEEP: &str = "# An ensemble has no model file; its steps are in config.pbtxt.\n";

/// Adds `<name>_ensemble`: the engine behind DALI where it was built, else ONNX Runtime.
pub(super) fn add(
    tree: &mut FileTree,
    name: &PackageName,
    plan: &Plan<'_>,
    options: &Options,
) -> Result<Listed, Error> {
    let model = format!("{name}_ensemble");
    let graph = plan.graph;
    let network = match &graph.engine {
        Some(_) => engine_name(name, graph.form),
        None => format!("{name}{}", graph.form.suffix()),
    };
    let mut message = Message::new()
        .text("name", &model)
        .text("platform", "ensemble")
        .word("max_batch_size", plan.max_batch)
        .message("input", Tensor::new(ENCODED, "TYPE_UINT8", &[-1]).message());
    let outputs: Vec<Tensor> =
        graph.outputs.iter().map(|info| Tensor::of(info, true)).collect::<Result<_, _>>()?;
    let class_output = super::config::class_output(&graph.detector.head);
    for tensor in &outputs {
        let output = tensor.message();
        message = message.message(
            "output",
            if tensor.name == class_output { output.text("label_filename", LABELS) } else { output },
        );
    }
    message = message.message("output", Tensor::new(FRAME_SIZE, "TYPE_INT64", &[2]).message());
    let mut first = step(&dali::model_name(name)).message("input_map", mapped(ENCODED, ENCODED));
    for tensor in dali::outputs(plan)? {
        first = first.message("output_map", mapped(&tensor.name, &tensor.name));
    }
    let mut second = step(&network);
    for input in &graph.inputs {
        // The original's size is what the pipeline gives beside the pixels.
        let is_size = graph.detector.input.image_size.as_deref() == Some(&input.name);
        second =
            second.message("input_map", mapped(&input.name, if is_size { FRAME_SIZE } else { &input.name }));
    }
    for tensor in &outputs {
        second = second.message("output_map", mapped(&tensor.name, &tensor.name));
    }
    let steps = Message::new().message("step", first).message("step", second);
    message = message.message("ensemble_scheduling", steps);
    tree.add(format!("{FOLDER}/{model}/config.pbtxt"), written(&message, options))?;
    tree.add(format!("{FOLDER}/{model}/1/ensemble.txt"), KEEP)?;
    tree.add(format!("{FOLDER}/{model}/{LABELS}"), graph.detector.labels.to_lines())?;
    let about = format!("DALI, then `{network}`; encoded images in. {}", about(graph.form));
    Ok(Listed { name: model, about, detector: Some(graph.detector.clone()), unbuilt: None })
}

/// The newest version that the server has of a model.
fn step(model: &str) -> Message {
    Message::new().text("model_name", model).word("model_version", -1)
}

/// An input or output of a step and the ensemble's name of the tensor.
fn mapped(own: &str, ensemble: &str) -> Message {
    Message::new().text("key", own).text("value", ensemble)
}

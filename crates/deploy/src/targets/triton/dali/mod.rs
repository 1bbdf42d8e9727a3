//! Preprocessing by NVIDIA DALI: `dali.py`, which the server's DALI backend serialises by itself.
//!
//! Sizes and borders are computed in `float64` by the rules of [`detect::Geometry`], so that they are the same ones. What
//! DALI has no filter for is refused.

use std::fmt::Write as _;

use detect::{ChannelOrder, Detector, ElementType, Filter, ImageInput, PixelMask, Resize};

use super::super::onnxruntime::filled;
use super::super::{DeliveredGraph, Form, Graphs};
use super::config::max_batch;
use super::interface::Tensor;
use super::text_proto::Message;
use super::{FOLDER, Listed, Options, add_configs};
use crate::{Error, FileTree, PackageName};

/// The input: the bytes of an image file.
pub(super) const ENCODED: &str = "encoded_images";
/// The output beside the network's inputs: width and height of the decoded image.
pub(super) const FRAME_SIZE: &str = "frame_size";

/// What DALI feeds.
pub(super) struct Plan<'a> {
    /// The graph behind it: end to end where there is one.
    pub(super) graph: &'a DeliveredGraph,
    pub(super) max_batch: u32,
    interpolation: &'static str,
    antialias: bool,
}

/// Whether DALI can do what the detector's description says, and for which graph; otherwise why not.
pub(super) fn plan(graphs: &Graphs) -> Result<Plan<'_>, String> {
    let graph = graphs.of(Form::EndToEnd).or_else(|| graphs.of(Form::Plain));
    let graph = graph.ok_or("there is no graph to feed")?;
    let input = &graph.detector.input;
    if input.frames.is_some() {
        return Err("the graph takes raw frames and needs no preprocessing".into());
    }
    if !graph.is_batched() {
        return Err("DALI works on batches, and the graph has no batch".into());
    }
    let names = graph.inputs.iter().chain(&graph.outputs).map(|info| info.name.as_str());
    if let Some(taken) = names.into_iter().find(|name| [ENCODED, FRAME_SIZE].contains(name)) {
        return Err(format!("the graph has a tensor called `{taken}` itself"));
    }
    let known =
        [Some(&input.tensor), input.mask.as_ref().map(|mask| &mask.tensor), input.image_size.as_ref()];
    if let Some(other) = graph.inputs.iter().find(|info| !known.contains(&Some(&info.name))) {
        return Err(format!("nothing is known of the input `{}`", other.name));
    }
    let (interpolation, antialias) = filter(input.filter, input.antialias).ok_or_else(|| {
        format!("DALI has no {:?} filter that resizes as the detector wants it", input.filter)
    })?;
    Ok(Plan { graph, max_batch: max_batch(graph, graphs.max_batch), interpolation, antialias })
}

/// DALI's filters that give the same pixels. Its cubic is that of PIL, not the sharper one of `OpenCV` and `PyTorch`.
fn filter(filter: Filter, antialias: bool) -> Option<(&'static str, bool)> {
    match (filter, antialias) {
        (Filter::Nearest, _) => Some(("INTERP_NN", false)),
        (Filter::Bilinear, _) => Some(("INTERP_LINEAR", antialias)),
        (Filter::Bicubic, true) => Some(("INTERP_CUBIC", true)),
        (Filter::Lanczos, true) => Some(("INTERP_LANCZOS3", true)),
        _ => None,
    }
}

/// `<name>_dali`.
pub(super) fn model_name(name: &PackageName) -> String {
    format!("{name}_dali")
}

/// Adds the model.
pub(super) fn add(
    tree: &mut FileTree,
    name: &PackageName,
    plan: &Plan<'_>,
    options: &Options,
) -> Result<Listed, Error> {
    let model = model_name(name);
    tree.add(format!("{FOLDER}/{model}/1/dali.py"), pipeline(name, plan))?;
    let outputs = outputs(plan)?;
    add_configs(tree, &model, options, |tier| {
        let encoded = Tensor::new(ENCODED, "TYPE_UINT8", &[-1]).message().word("allow_ragged_batch", true);
        let mut message = Message::new()
            .text("name", &model)
            .text("backend", "dali")
            .word("max_batch_size", plan.max_batch)
            .message("input", encoded);
        for output in &outputs {
            message = message.message("output", output.message());
        }
        if let Some(batching) = tier.dynamic_batching(plan.max_batch) {
            message = message.message("dynamic_batching", batching);
        }
        Ok(message)
    })?;
    let about = "DALI; encoded images in, the network's inputs and the size of the frame out";
    Ok(Listed { name: model, about: about.into(), detector: None, unbuilt: None })
}

/// What the pipeline returns, in its order: the network's inputs, then the size of the frame.
pub(super) fn outputs(plan: &Plan<'_>) -> Result<Vec<Tensor>, Error> {
    let input = &plan.graph.detector.input;
    let mask = input.mask.as_ref().map(|mask| mask.tensor.as_str());
    let mut outputs = Vec::new();
    for name in std::iter::once(input.tensor.as_str()).chain(mask) {
        let info = plan.graph.inputs.iter().find(|info| info.name == name);
        if let Some(info) = info {
            outputs.push(Tensor::of(info, true)?);
        }
    }
    // The pipeline's sizes are the description's; the graph may leave them open.
    if let Some(pixels) = outputs.first_mut() {
        pixels.dims = vec![3, i64::from(input.height), i64::from(input.width)];
    }
    if let (Some(mask), Some(tensor)) = (&input.mask, outputs.get_mut(1)) {
        tensor.dims = vec![i64::from(mask.height), i64::from(mask.width)];
    }
    outputs.push(Tensor::new(FRAME_SIZE, "TYPE_INT64", &[2]));
    Ok(outputs)
}

/// The text of `dali.py`.
fn pipeline(name: &PackageName, plan: &Plan<'_>) -> String {
    let Detector { input, .. } = &plan.graph.detector;
    let (before, after) = padding(&input.resize);
    let (mask_function, mask_output) = mask(input.mask.as_ref());
    let scaled = |values: [f32; 3]| {
        let values = values.map(|value| format!("{:?}", f64::from(value) / f64::from(input.scale)));
        format!("[{}]", values.join(", "))
    };
    filled(
        include_str!("pipeline.py.in"),
        &[
            ("NAME", name.as_str()),
            ("WIDTH", &input.width.to_string()),
            ("HEIGHT", &input.height.to_string()),
            ("PLACE", &place(&input.resize)),
            ("MASK_FUNCTION", &mask_function),
            ("MASK_OUTPUT", mask_output),
            ("MAX_BATCH", &plan.max_batch.to_string()),
            ("ENCODED", ENCODED),
            ("COLOURS", if input.channels == ChannelOrder::Rgb { "RGB" } else { "BGR" }),
            ("FILTER", plan.interpolation),
            ("ANTIALIAS", if plan.antialias { "True" } else { "False" }),
            ("PAD_BEFORE", &before),
            ("PAD_AFTER", after),
            ("DTYPE", element(input)),
            ("MEAN", &scaled(input.mean)),
            ("STD", &scaled(input.std)),
        ],
    )
}

fn element(input: &ImageInput) -> &'static str {
    match input.dtype {
        ElementType::F32 => "FLOAT",
        ElementType::F16 => "FLOAT16",
        ElementType::U8 => "UINT8",
    }
}

/// Letterbox padding is a colour, that of the shortest edge comes after normalisation.
fn padding(resize: &Resize) -> (String, &'static str) {
    match resize {
        Resize::Stretch => (String::new(), ""),
        Resize::Letterbox { fill, .. } => {
            let mut lines = String::from("    start = integers(number(0) - top, number(0) - left)\n");
            let _ = writeln!(
                lines,
                "    image = fn.slice(image, start=start, shape=[HEIGHT, WIDTH], axes=(0, 1), \
                 out_of_bounds_policy=\"pad\", fill_values={fill})"
            );
            (lines, "")
        }
        Resize::ShortestEdge { .. } => {
            (String::new(), "    pixels = fn.pad(pixels, axes=(1, 2), shape=[HEIGHT, WIDTH], fill_value=0)\n")
        }
    }
}

fn place(resize: &Resize) -> String {
    let text = match *resize {
        Resize::Stretch => include_str!("stretch.py.in").to_owned(),
        Resize::Letterbox { centred, upscale, .. } => {
            let values = [
                ("NO_UPSCALE", if upscale { "" } else { "    gain = math.min(gain, number(1))\n" }),
                ("LEFT", if centred { "border(number(WIDTH) - width)" } else { "width * number(0)" }),
                ("TOP", if centred { "border(number(HEIGHT) - height)" } else { "height * number(0)" }),
                ("BORDER", if centred { include_str!("border.py.in") } else { "" }),
            ];
            filled(include_str!("letterbox.py.in"), &values)
        }
        Resize::ShortestEdge { shortest, longest, multiple_of } => {
            let values = [shortest, longest, multiple_of.unwrap_or(1)].map(|value| value.to_string());
            let places = [("SHORTEST", &*values[0]), ("LONGEST", &values[1]), ("STEP", &values[2])];
            filled(include_str!("shortest_edge.py.in"), &places)
        }
    };
    format!("{}\n", text.trim_end())
}

fn mask(mask: Option<&PixelMask>) -> (String, &'static str) {
    let Some(PixelMask { width, height, .. }) = mask else { return (String::new(), "") };
    let values = [("MASK_WIDTH", &*width.to_string()), ("MASK_HEIGHT", &height.to_string())];
    (filled(include_str!("mask.py.in"), &values), "mask(width, height, left, top), ")
}

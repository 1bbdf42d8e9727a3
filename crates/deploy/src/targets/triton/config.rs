//! `config.pbtxt` of a network, from the inputs and outputs of its graph.

use detect::{Frames, Head, ImageInput};

use super::super::DeliveredGraph;
use super::LABELS;
use super::batching::Tier;
use super::interface::Tensor;
use super::text_proto::Message;
use crate::Error;

/// What runs a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunsOn {
    OnnxRuntime,
    TensorRt,
}

/// Where ONNX Runtime keeps the engines that its TensorRT provider builds; one for each model.
const ENGINE_CACHE: &str = "/tmp/sightline_trt_cache";

/// A network as a model of the repository.
pub(super) struct Network<'a> {
    pub(super) name: &'a str,
    pub(super) graph: &'a DeliveredGraph,
    /// The largest batch that was verified.
    pub(super) max_batch: u32,
    pub(super) runs_on: RunsOn,
}

impl Network<'_> {
    /// The configuration for a tier.
    pub(super) fn message(&self, tier: Tier) -> Result<Message, Error> {
        let (platform, backend, kind) = match self.runs_on {
            RunsOn::OnnxRuntime => ("onnxruntime_onnx", "onnxruntime", "KIND_AUTO"),
            RunsOn::TensorRt => ("tensorrt_plan", "tensorrt", "KIND_GPU"),
        };
        let max_batch = max_batch(self.graph, self.max_batch);
        let mut message = Message::new()
            .text("name", self.name)
            .text("platform", platform)
            .text("backend", backend)
            .word("max_batch_size", max_batch);
        for tensor in self.inputs()? {
            let mut input = tensor.message();
            if let Some(format) = format(&self.graph.detector.input, &tensor) {
                input = input.word("format", format);
            }
            message = message.message("input", input);
        }
        for tensor in self.outputs()? {
            let mut output = tensor.message();
            if class_output(&self.graph.detector.head) == tensor.name {
                output = output.text("label_filename", LABELS);
            }
            message = message.message("output", output);
        }
        message = message
            .message("instance_group", Message::new().word("count", tier.instances()).word("kind", kind));
        if let Some(batching) = tier.dynamic_batching(max_batch) {
            message = message.message("dynamic_batching", batching);
        }
        for warmup in self.warmups(max_batch)? {
            message = message.message("model_warmup", warmup);
        }
        if let Some(optimization) = self.optimization(tier) {
            message = message.message("optimization", optimization);
        }
        Ok(message)
    }

    fn inputs(&self) -> Result<Vec<Tensor>, Error> {
        let batched = self.graph.is_batched();
        self.graph.inputs.iter().map(|info| Tensor::of(info, batched)).collect()
    }

    fn outputs(&self) -> Result<Vec<Tensor>, Error> {
        let batched = self.graph.is_batched();
        self.graph.outputs.iter().map(|info| Tensor::of(info, batched)).collect()
    }

    /// A first request of one image and one of the largest batch, before the model is ready: what is prepared at the first
    /// request (kernels, memory) is there for the first client. None for a size that only a request tells.
    fn warmups(&self, max_batch: u32) -> Result<Vec<Message>, Error> {
        let mut inputs = self.inputs()?;
        for tensor in &mut inputs {
            if self.graph.detector.input.frames.is_some() {
                tensor.dims = frame_dims(&self.graph.detector.input, tensor);
            }
        }
        if inputs.iter().any(|tensor| tensor.dims.iter().any(|dim| *dim < 1)) {
            return Ok(Vec::new());
        }
        let mut sizes = vec![max_batch.min(1), max_batch];
        sizes.dedup();
        let one = |size: u32| {
            let start =
                Message::new().text("name", &format!("batch_{}", size.max(1))).word("batch_size", size);
            inputs.iter().fold(start, |message, tensor| {
                let dims = if tensor.dims.is_empty() { vec![1] } else { tensor.dims.clone() };
                let value = Message::new()
                    .word("data_type", tensor.data_type)
                    .list("dims", dims)
                    .word("zero_data", true);
                message.message("inputs", Message::new().text("key", &tensor.name).message("value", value))
            })
        };
        Ok(sizes.into_iter().map(one).collect())
    }

    /// CUDA graphs save the starts of a network's kernels; one whose suppression has sizes of its own cannot be recorded.
    fn optimization(&self, tier: Tier) -> Option<Message> {
        let plain = self.graph.form == super::Form::Plain;
        let graphs = self.runs_on == RunsOn::TensorRt && tier == Tier::Latency && plain;
        graphs.then(|| Message::new().message("cuda", Message::new().word("graphs", true)))
    }

    /// The same with ONNX Runtime's TensorRT provider, which builds an engine while the model loads and keeps it. `None`
    /// where an input's size differs from request to request.
    pub(super) fn accelerated(&self, tier: Tier) -> Result<Option<Message>, Error> {
        let inputs = self.inputs()?;
        if inputs.iter().any(|tensor| tensor.dims.iter().any(|dim| *dim < 1)) {
            return Ok(None);
        }
        let max_batch = max_batch(self.graph, self.max_batch);
        let shapes = |batch: u32| {
            let shape = |tensor: &Tensor| {
                let batch = (max_batch > 0).then_some(i64::from(batch));
                let dims = batch.into_iter().chain(tensor.dims.iter().copied());
                let dims: Vec<String> = dims.map(|dim| dim.to_string()).collect();
                format!("{}:{}", tensor.name, dims.join("x"))
            };
            inputs.iter().map(shape).collect::<Vec<_>>().join(",")
        };
        let mut accelerator = Message::new()
            .text("name", "tensorrt")
            .entry("parameters", "precision_mode", "FP32")
            .entry("parameters", "trt_engine_cache_enable", "true")
            .entry("parameters", "trt_engine_cache_path", &format!("{ENGINE_CACHE}/{}", self.name));
        // A name with these marks would end the list of shapes.
        let plain = inputs.iter().all(|tensor| !tensor.name.contains([':', ',']));
        if max_batch > 1 && plain {
            let sizes = [("min", 1), ("opt", max_batch.div_ceil(2)), ("max", max_batch)];
            for (which, batch) in sizes {
                let key = format!("trt_profile_{which}_shapes");
                accelerator = accelerator.entry("parameters", &key, &shapes(batch));
            }
        }
        let accelerators = Message::new().message("gpu_execution_accelerator", accelerator);
        let optimization = Message::new().message("execution_accelerators", accelerators);
        // The provider runs on a GPU only.
        let group = Message::new().word("count", tier.instances()).word("kind", "KIND_GPU");
        let message = self.message(tier)?.without("instance_group").message("instance_group", group);
        Ok(Some(message.message("optimization", optimization)))
    }
}

/// `max_batch_size`: 0 for a graph whose tensors do not all have the batch in front; its dimensions are then whole shapes.
pub(super) fn max_batch(graph: &DeliveredGraph, verified: u32) -> u32 {
    if graph.is_batched() { verified.max(1) } else { 0 }
}

/// The layout of an image of three dimensions; the server refuses one for any other tensor.
fn format(input: &ImageInput, tensor: &Tensor) -> Option<&'static str> {
    if tensor.name != input.tensor || tensor.dims.len() != 3 {
        return None;
    }
    match &input.frames {
        None => Some("FORMAT_NCHW"),
        Some(Frames::Rgb | Frames::Bgr) => Some("FORMAT_NHWC"),
        Some(Frames::Nv12 { .. }) => None,
    }
}

/// A frame of the network's own size.
fn frame_dims(input: &ImageInput, tensor: &Tensor) -> Vec<i64> {
    let (width, height) = (i64::from(input.width), i64::from(input.height));
    let sides =
        if tensor.name == input.tensor { [height, width] } else { [(height + 1) / 2, (width + 1) / 2] };
    let mut sides = sides.into_iter();
    tensor.dims.iter().map(|dim| if *dim < 1 { sides.next().unwrap_or(*dim) } else { *dim }).collect()
}

/// The output that tells the class: the labels' file is named there.
pub(super) fn class_output(head: &Head) -> &str {
    match head {
        Head::Queries { logits, .. } => logits,
        Head::Dense { output, .. } | Head::EndToEnd { output, .. } => output,
        Head::EndToEndParts { classes, .. } => classes,
    }
}

//! ONNX Runtime, loaded from a shared library that the user installs: fast on processors, and the way to CUDA and
//! TensorRT.
//!
//! Three backends over one library, each on one device. By itself ONNX Runtime goes on with the processor when a provider
//! is missing or has no kernel for a node; here both are errors (`placement.rs`). Weights and activations are computed in
//! the types that the graph states: TF32 is off for CUDA. TensorRT takes TF32 for `float32` convolutions unless the
//! machine's owner forbids it (`NVIDIA_TF32_OVERRIDE=0`), and has no option here to say so.

mod binding;
mod convert;
mod library;
mod placement;
mod refusal;
mod session;

use std::sync::OnceLock;

use graph::{Builder, DataType, Dim, ValueInfo};
use ort::ep::{CUDA, ExecutionProvider, ExecutionProviderDispatch, TensorRT};

use crate::backends::fenced;
use crate::{Backend, Error, LoadOptions, Machine, OnnxSource, Probe, Session};
use placement::SizeNodes;
use refusal::Names;

pub use library::{library, library_version, use_library};

/// On the processor.
pub static CPU: OnnxRuntime =
    OnnxRuntime { name: "onnxruntime", provider: Provider::Cpu, proved: OnceLock::new() };

/// On a graphics processor of NVIDIA, by CUDA and cuDNN.
pub static CUDA_BACKEND: OnnxRuntime =
    OnnxRuntime { name: "onnxruntime-cuda", provider: Provider::Cuda, proved: OnceLock::new() };

/// On a graphics processor of NVIDIA, by engines that TensorRT builds at the first run of each range of sizes.
pub static TENSORRT_BACKEND: OnnxRuntime =
    OnnxRuntime { name: "onnxruntime-tensorrt", provider: Provider::TensorRt, proved: OnceLock::new() };

/// ONNX Runtime with one of its providers.
#[derive(Debug)]
pub struct OnnxRuntime {
    name: &'static str,
    provider: Provider,
    /// What a graph on this provider has shown once; a graphics processor takes seconds to wake.
    proved: OnceLock<Probe>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Provider {
    Cpu,
    Cuda,
    TensorRt,
}

impl Provider {
    /// The registration with the library; none for the processor, which is always there.
    fn registration(self) -> Option<ExecutionProviderDispatch> {
        // Without `error_on_failure` a provider that is not there is passed over in silence.
        match self {
            Self::Cpu => None,
            Self::Cuda => Some(CUDA::default().with_device_id(0).with_tf32(false).build().error_on_failure()),
            Self::TensorRt => Some(TensorRT::default().with_device_id(0).build().error_on_failure()),
        }
    }

    /// Whether the library was built with it.
    fn is_built_in(self) -> bool {
        match self {
            Self::Cpu => true,
            Self::Cuda => CUDA::is_available().unwrap_or(false),
            Self::TensorRt => TensorRT::is_available().unwrap_or(false),
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Cpu => "the processor",
            Self::Cuda => "CUDA",
            Self::TensorRt => "TensorRT",
        }
    }
}

impl Backend for OnnxRuntime {
    fn name(&self) -> &'static str {
        self.name
    }

    fn probe(&self) -> Result<Probe, Error> {
        if let Some(proved) = self.proved.get() {
            return Ok(proved.clone());
        }
        let loaded = library::loaded(self.name)?;
        let version = format!("ONNX Runtime {}", loaded.version);
        let device = match self.provider {
            Provider::Cpu => Machine::processor(),
            Provider::Cuda | Provider::TensorRt => self.prove()?,
        };
        Ok(self.proved.get_or_init(|| Probe { version, device }).clone())
    }

    fn gaps(&self) -> &'static [&'static str] {
        match self.provider {
            Provider::Cpu => {
                &["before 1.32 its `Pad_Fusion` changes what graphs compute: it is switched off there"]
            }
            Provider::Cuda => {
                &["refuses a graph with a node that CUDA leaves to the processor, sizes of tensors aside"]
            }
            Provider::TensorRt => &[
                "refuses a graph with a node that TensorRT leaves to the processor, sizes of tensors aside",
                "builds an engine at the first run of each range of sizes: seconds to minutes",
                "`float32` convolutions run in TF32 unless `NVIDIA_TF32_OVERRIDE=0` is set",
            ],
        }
    }

    fn load(&self, source: OnnxSource<'_>, options: &LoadOptions) -> Result<Box<dyn Session>, Error> {
        let loaded = library::loaded(self.name)?;
        self.check_built_in()?;
        let (outline, source) = source.read(|model| {
            let owned = |infos: Vec<ValueInfo>| {
                infos.into_iter().map(|info| ValueInfo { other: Vec::new(), ..info }).collect()
            };
            Ok(Outline {
                sizes: SizeNodes::of(&model.graph),
                names: Names::of(&model.graph),
                inputs: owned(model.graph.inputs),
                outputs: owned(model.graph.outputs),
            })
        })?;
        let threads = options.threads.filter(|count| *count > 0).unwrap_or_else(Machine::worker_threads);
        let session = session::load(self, &loaded, &outline, &source, threads)?;
        Ok(Box::new(session::OnnxRuntimeSession::new(self, session, outline, threads)?))
    }
}

impl OnnxRuntime {
    fn check_built_in(&self) -> Result<(), Error> {
        if fenced(self.name, || self.provider.is_built_in())? {
            return Ok(());
        }
        let path = library().map(|path| path.display().to_string()).unwrap_or_default();
        let reason = format!("`{path}` was built without {}", self.provider.label());
        Err(Error::Unavailable { backend: self.name, reason })
    }

    /// Runs a graph of one node: a provider can be built in and its libraries or its device be missing all the same.
    fn prove(&self) -> Result<String, Error> {
        let failed = |error: Error| match error {
            Error::Load { reason, .. } | Error::Run { reason, .. } | Error::Unsupported { reason, .. } => {
                Error::Unavailable { backend: self.name, reason }
            }
            other => other,
        };
        let mut builder = Builder::new("probe", 17);
        let x = builder.input("x", DataType::F32, vec![Dim::Fixed(1)]);
        let y = builder.relu(&x);
        builder.output("y", &y);
        let mut bytes = Vec::new();
        graph::onnx::write(&builder.finish("sightline", "1")?, &mut bytes)?;
        let mut session = self.load(OnnxSource::Bytes(bytes), &LoadOptions::default()).map_err(failed)?;
        let x = graph::Tensor::from_f32([1], vec![2.0])?;
        let outputs = session.run(&[("x", &x)]).map_err(failed)?;
        if outputs.first().is_none_or(|(_, y)| *y != x) {
            let reason = format!("{} computes max(2, 0) wrongly", self.provider.label());
            return Err(Error::Unavailable { backend: self.name, reason });
        }
        let gpus = Machine::detect().gpus;
        Ok(gpus.first().map_or_else(|| "the first graphics processor".to_owned(), |gpu| gpu.name.clone()))
    }
}

/// What is kept of a graph's file: names, no weights.
struct Outline {
    inputs: Vec<ValueInfo>,
    outputs: Vec<ValueInfo>,
    names: Names,
    sizes: SizeNodes,
}

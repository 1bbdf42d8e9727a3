//! A graph loaded by ONNX Runtime.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use graph::{Tensor, ValueInfo};
use ort::logging::LogLevel;
use ort::memory::AllocationDevice;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{Session, SessionInputValue, SessionOutputs};

use super::binding::Binding;
use super::convert::{self, Input};
use super::library::Loaded;
use super::{OnnxRuntime, Outline, Provider, placement};
use crate::backends::fenced;
use crate::{Error, OnnxSource, checks};

/// Part of what the library says when it would have to use the processor and may not (`inference_session.cc`).
const FALLBACK_REFUSED: &str = "explicitly disabled";

/// Held by every run on a graphics processor, and alone by the first one of each session at each size: there the library tries
/// kernels and takes memory, and CUDA refuses that while another thread of the process captures a stream
/// (`operation not permitted when stream is capturing`).
static RUNS: RwLock<()> = RwLock::new(());

/// A session, with what it needs between runs.
pub(super) struct OnnxRuntimeSession {
    backend: &'static str,
    session: Session,
    inputs: Vec<ValueInfo>,
    outputs: Vec<ValueInfo>,
    /// `None` where the graph is not computed by threads of the processor.
    threads: Option<usize>,
    /// `None` where the graph reads the caller's memory.
    binding: Option<Binding>,
    /// The sizes of inputs that a graphics processor has seen.
    seen: HashSet<Vec<i64>>,
}

impl OnnxRuntimeSession {
    pub(super) fn new(
        backend: &OnnxRuntime,
        session: Session,
        outline: Outline,
        threads: usize,
    ) -> Result<Self, Error> {
        let Outline { inputs, outputs, .. } = outline;
        let on_processor = backend.provider == Provider::Cpu;
        let binding = match backend.provider {
            Provider::Cpu => None,
            Provider::Cuda | Provider::TensorRt => {
                let made = fenced(backend.name, || Binding::new(&session, &AllocationDevice::CUDA_PINNED))?;
                Some(made.map_err(|error| Error::Load { backend: backend.name, reason: error.to_string() })?)
            }
        };
        let threads = on_processor.then_some(threads);
        Ok(Self { backend: backend.name, session, inputs, outputs, threads, binding, seen: HashSet::new() })
    }
}

impl crate::Session for OnnxRuntimeSession {
    fn inputs(&self) -> &[ValueInfo] {
        &self.inputs
    }

    fn outputs(&self) -> &[ValueInfo] {
        &self.outputs
    }

    fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, Error> {
        let backend = self.backend;
        let tensors = checks::in_order(&self.inputs, inputs)?;
        let fed: Vec<(&str, Input)> = self
            .inputs
            .iter()
            .zip(tensors)
            .map(|(info, tensor)| Ok((info.name.as_str(), Input::new(backend, &info.name, tensor)?)))
            .collect::<Result<_, Error>>()?;
        let failed = |reason: String| Error::Run { backend, reason };
        let (session, binding, declared) = (&mut self.session, &mut self.binding, &self.outputs);
        let Some(binding) = binding else {
            return fenced(backend, || {
                let mut outputs = direct(session, &fed).map_err(failed)?;
                collected(&mut outputs, declared, &failed)
            })?;
        };
        let sizes: Vec<i64> = fed.iter().flat_map(|(_, input)| input.shape()).copied().collect();
        let is_first = !self.seen.contains(&sizes);
        let _alone = is_first.then(|| RUNS.write().unwrap_or_else(PoisonError::into_inner));
        let _shared = (!is_first).then(|| RUNS.read().unwrap_or_else(PoisonError::into_inner));
        let found = fenced(backend, || {
            let mut outputs = binding.run(session, &fed, declared).map_err(failed)?;
            collected(&mut outputs, declared, &failed)
        })??;
        self.seen.insert(sizes);
        Ok(found)
    }

    fn threads(&self) -> Option<usize> {
        self.threads
    }
}

/// A run that reads the inputs where they are.
fn direct<'s>(session: &'s mut Session, fed: &[(&str, Input)]) -> Result<SessionOutputs<'s>, String> {
    let mut values: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = Vec::with_capacity(fed.len());
    for (name, input) in fed {
        let view = input.view().map_err(|reason| format!("input `{name}`: {reason}"))?;
        values.push((Cow::Borrowed(*name), view));
    }
    session.run(values).map_err(|error| error.to_string())
}

fn collected(
    outputs: &mut SessionOutputs<'_>,
    declared: &[ValueInfo],
    failed: &impl Fn(String) -> Error,
) -> Result<Vec<(String, Tensor)>, Error> {
    declared
        .iter()
        .map(|info| {
            // An output without a name cannot be asked for; the library would end the program.
            let value = if info.name.is_empty() { None } else { outputs.remove(&info.name) };
            let value = value.ok_or_else(|| failed(format!("output `{}` did not come", info.name)))?;
            Ok((info.name.clone(), convert::output(&info.name, value, info.dtype)?))
        })
        .collect()
}

/// Loads the graph for one provider, or says which node that provider leaves out.
pub(super) fn load(
    backend: &OnnxRuntime,
    loaded: &Loaded,
    outline: &Outline,
    source: &OnnxSource<'_>,
    threads: usize,
) -> Result<Session, Error> {
    let refused = |reason: &str| outline.names.refusal(backend.name, reason);
    let builder = || {
        fenced(backend.name, || options(backend.provider, loaded, threads))?
            .map_err(|reason| Error::Load { backend: backend.name, reason })
    };
    let commit = |mut builder: SessionBuilder| {
        fenced(backend.name, || match source {
            OnnxSource::File(path) => builder.commit_from_file(path),
            OnnxSource::Bytes(bytes) => builder.commit_from_memory(bytes),
        })
    };
    if backend.provider == Provider::Cpu {
        return commit(builder()?)?.map_err(|error| refused(&error.to_string()));
    }
    let strict = builder()?.with_disable_cpu_fallback().map_err(|error| refused(&error.to_string()))?;
    let words = match commit(strict)? {
        Ok(session) => return Ok(session),
        Err(error) => error.to_string(),
    };
    if !words.contains(FALLBACK_REFUSED) {
        return Err(refused(&words));
    }
    let log = Log::default();
    let session = commit(log.attached(builder()?).map_err(|reason| refused(&reason))?)?;
    let session = session.map_err(|error| refused(&error.to_string()))?;
    check_placement(backend, outline, &log.lines())?;
    Ok(session)
}

/// Refuses a graph of which more than the arithmetic of sizes was left to the processor.
fn check_placement(backend: &OnnxRuntime, outline: &Outline, lines: &[String]) -> Result<(), Error> {
    let name = backend.name;
    let Some(placed) = placement::on_processor(lines) else {
        let reason = "ONNX Runtime does not say which nodes it left to the processor".to_owned();
        return Err(Error::Load { backend: name, reason });
    };
    match outline.sizes.first_of_data(&placed) {
        None => Ok(()),
        Some((op, node)) => Err(Error::Unsupported {
            backend: name,
            node: node.clone(),
            op: op.clone(),
            reason: format!("{} leaves it to the processor", backend.provider.label()),
        }),
    }
}

/// Rewrites of the library that change what a graph computes, by version.
///
/// `Pad_Fusion` moves the zeros of a `Pad` into the `MaxPool` behind it, where they count as minus infinity: wrong where
/// every value of a window is negative, as in the stem of D-FINE. Seen in 1.20 to 1.31.1, right in 1.32.0. It came with 1.17.
pub(super) fn faulty_optimizers(version: &str) -> &'static str {
    let mut parts = version.split('.').map_while(|part| part.parse::<u32>().ok());
    match (parts.next(), parts.next()) {
        (Some(1), Some(minor)) if minor < 32 => "Pad_Fusion",
        _ => "",
    }
}

/// The rewrites that are switched off for a provider, as the library wants them: with semicolons between.
///
/// `WeightBiasQuantization` rounds the bias of a convolution between roundings to 32 bits, for the processor's kernels. CUDA has
/// no `DequantizeLinear` of 32 bits, so that the graph would be left to the processor in part.
fn unwanted_optimizers(provider: Provider, version: &str) -> String {
    let of_provider = if provider == Provider::Cpu { "" } else { "WeightBiasQuantization" };
    let both = [faulty_optimizers(version), of_provider];
    both.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>().join(";")
}

fn options(provider: Provider, loaded: &Loaded, threads: usize) -> Result<SessionBuilder, String> {
    let build = || -> Result<SessionBuilder, ort::Error> {
        Ok(Session::builder(&loaded.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(threads)?
            .with_inter_threads(1)?
            .with_log_level(LogLevel::Fatal)?
            .with_disabled_optimizers(unwanted_optimizers(provider, &loaded.version))?)
    };
    let builder = build().map_err(|error| error.to_string())?;
    match provider.registration() {
        None => Ok(builder),
        Some(registration) => {
            builder.with_execution_providers([registration]).map_err(|error| error.to_string())
        }
    }
}

/// What the library logs while it loads one graph; not what it logs afterwards.
#[derive(Clone, Default)]
struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
}

impl Log {
    fn attached(&self, builder: SessionBuilder) -> Result<SessionBuilder, String> {
        let Self { lines, is_over } = self.clone();
        let keep = move |_: LogLevel, _: &str, _: &str, _: &str, message: &str| {
            if !is_over.load(Ordering::Relaxed) {
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(message.to_owned());
            }
        };
        let verbose = builder.with_log_level(LogLevel::Verbose).map_err(|error| error.to_string())?;
        verbose.with_logger(Arc::new(keep)).map_err(|error| error.to_string())
    }

    fn lines(&self) -> Vec<String> {
        self.is_over.store(true, Ordering::Relaxed);
        std::mem::take(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_versions_have_the_faulty_rewrite() {
        let cases =
            [("1.17.3", "Pad_Fusion"), ("1.31.1", "Pad_Fusion"), ("1.32.0", ""), ("2.0.0", ""), ("", "")];
        for (version, expected) in cases {
            assert_eq!(faulty_optimizers(version), expected, "{version}");
            assert_eq!(unwanted_optimizers(Provider::Cpu, version), expected, "{version}");
        }
        assert_eq!(unwanted_optimizers(Provider::Cuda, "1.31.1"), "Pad_Fusion;WeightBiasQuantization");
        assert_eq!(unwanted_optimizers(Provider::Cuda, "1.32.0"), "WeightBiasQuantization");
    }
}

//! The bindings: parses and builds with the library.
//!
//! Several builds may run at a time, each with messages of its own; the library compiles one after the other.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use graph::ComputeCapability;
use trtx::builder_config::BuilderConfig;
use trtx::interfaces::MonitorProgress;
use trtx::optimization_profile::OptimizationProfile;
use trtx::trtx_sys::Dims64;
use trtx::{
    LogHandler, Logger, MemoryPoolType, NetworkDefinition, OnnxParser, OptProfileSelector,
    ProfilingVerbosity, Severity,
};

use super::failure::{Failure, Message, Weight};
use super::layers::End;
use super::library::{library_version, parser_of, unusable};
use super::{Build, NAME, Printed, layers};
use crate::Error;
use crate::backends::fenced;
use crate::tools::Profile;

/// Networks are strongly typed in this TensorRT, and have their batch in their shapes: nothing is to be said.
const NETWORK_FLAGS: u32 = 0;
/// Messages of the parser from this severity on, as it counts them: information.
const PARSER_VERBOSITY: i32 = 3;

/// The library in use: a process has one.
static IN_USE: OnceLock<PathBuf> = OnceLock::new();

/// Builds engines.
#[derive(Debug, Clone)]
pub struct Builder {
    library: PathBuf,
    version: String,
}

impl Builder {
    /// Whether this program has the bindings.
    pub const IS_COMPILED: bool = true;

    /// Opens the library.
    ///
    /// # Errors
    /// [`Error::ToolUnusable`] when the file is no TensorRT for RTX of the release that the bindings are for, or another one
    /// is in use.
    pub fn open(library: &Path) -> Result<Self, Error> {
        let version = library_version(library)?;
        let first = IN_USE.get_or_init(|| library.to_owned());
        if first != library {
            let reason = format!("`{}` is in use, and a process has one", first.display());
            return Err(unusable(library, reason));
        }
        let parser = parser_of(library)?;
        let failed = |error: trtx::Error| unusable(library, error.to_string());
        trtx::dynamically_load_tensorrt(Some(library)).map_err(failed)?;
        trtx::dynamically_load_tensorrt_onnxparser(Some(&parser)).map_err(failed)?;
        Ok(Self { library: library.to_owned(), version })
    }

    /// The library's version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The library's file.
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// Parses a graph and builds nothing.
    ///
    /// # Errors
    /// [`Error::TensorRtRtx`] with the node that is refused.
    pub fn parse(&self, build: &Build<'_>) -> Result<(), Error> {
        let messages = Messages::default();
        let parsed = fenced(NAME, || attempt(build, &messages, false))?;
        parsed.map(drop).map_err(|stop| stop.told(build, &messages.taken()))
    }

    /// Builds an engine and writes it; gives what was said meanwhile.
    ///
    /// # Errors
    /// [`Error::TensorRtRtx`] with the node that is refused; [`Error::Cancelled`]; [`Error::Write`].
    pub fn build(&self, build: &Build<'_>) -> Result<Printed, Error> {
        let messages = Messages::default();
        let built = fenced(NAME, || attempt(build, &messages, true))?;
        let messages = messages.taken();
        let ends = built.map_err(|stop| stop.told(build, &messages))?;
        let layers = layers::of_messages(messages.iter().map(|message| message.text.as_str()), &ends);
        let log = messages.iter().filter(|message| message.weight != Weight::Verbose);
        Ok(Printed { log: log.map(ToString::to_string).collect(), layers })
    }
}

/// Why there is no engine.
enum Stop {
    Read(std::io::Error),
    Parsing,
    Building(trtx::Error),
    Write(std::io::Error),
}

impl From<trtx::Error> for Stop {
    fn from(error: trtx::Error) -> Self {
        Self::Building(error)
    }
}

impl Stop {
    /// The library's own errors say little: what it logged says why.
    fn told(self, build: &Build<'_>, messages: &[Message]) -> Error {
        match self {
            Self::Read(source) => Error::Read { path: build.onnx.to_owned(), source },
            Self::Write(source) => Error::Write { path: build.engine.to_owned(), source },
            _ if build.cancelled.load(Ordering::Relaxed) => Error::Cancelled,
            Self::Parsing => Error::TensorRtRtx(Box::new(Failure::parsing(messages, build.graph))),
            Self::Building(error) => {
                Error::TensorRtRtx(Box::new(Failure::building(messages, build.graph, &error.to_string())))
            }
        }
    }
}

/// Parses, and builds where that is wanted; gives the engine's inputs and outputs.
fn attempt(build: &Build<'_>, messages: &Messages, is_build: bool) -> Result<Vec<End>, Stop> {
    let logger = Logger::new(messages.clone())?;
    let mut builder = trtx::Builder::new(&logger)?;
    let network = builder.create_network(NETWORK_FLAGS)?;
    let mut parser = OnnxParser::new(network, &logger)?;
    let path = build.onnx.to_str().filter(|path| !path.contains('\0')).ok_or_else(|| {
        Stop::Read(std::io::Error::new(std::io::ErrorKind::InvalidInput, "the path is no plain text"))
    })?;
    // By its path, so that weights in files beside it are found.
    parser.parse_from_file(path, PARSER_VERBOSITY).map_err(|_| Stop::Parsing)?;
    let ends = ends(parser.network(), build.profiles)?;
    if !is_build {
        return Ok(ends);
    }
    let mut config = builder.create_config()?;
    configure(&mut config, build)?;
    let mut profile = builder.creata_optimization_profile()?;
    for shapes in build.profiles {
        set_shapes(&mut profile, shapes)?;
    }
    if !build.profiles.is_empty() {
        config.add_optimization_profile(&mut profile)?;
    }
    let engine = builder.build_serialized_network(parser.network_mut(), &mut config)?;
    std::fs::write(build.engine, &*engine).map_err(Stop::Write)?;
    Ok(ends)
}

fn configure(config: &mut BuilderConfig<'_>, build: &Build<'_>) -> Result<(), trtx::Error> {
    config.set_progress_monitor(Box::new(Watch(Arc::clone(build.cancelled))))?;
    config.set_profiling_verbosity(ProfilingVerbosity::kDETAILED);
    config.set_nb_compute_capabilities(build.capabilities.len() as i32)?;
    for (at, capability) in build.capabilities.iter().enumerate() {
        config.set_compute_capability(known(*capability)?, at as i32)?;
    }
    if let Some(level) = build.level {
        config.set_builder_optimization_level(level as i32);
    }
    if let Some(mib) = build.workspace_mib {
        let bytes = usize::try_from(mib).unwrap_or(usize::MAX).saturating_mul(1 << 20);
        config.set_memory_pool_limit(MemoryPoolType::kWORKSPACE, bytes);
    }
    Ok(())
}

fn known(capability: ComputeCapability) -> Result<trtx::ComputeCapability, trtx::Error> {
    Ok(match capability.number() {
        75 => trtx::ComputeCapability::kSM75,
        80 => trtx::ComputeCapability::kSM80,
        86 => trtx::ComputeCapability::kSM86,
        89 => trtx::ComputeCapability::kSM89,
        120 => trtx::ComputeCapability::kSM120,
        121 => trtx::ComputeCapability::kSM121,
        _ => {
            let known = ComputeCapability::RTX.map(|known| known.to_string()).join(", ");
            let reason = format!("it builds for compute capability {known}, not for {capability}");
            return Err(trtx::Error::InvalidArgument(reason));
        }
    })
}

fn set_shapes(profile: &mut OptimizationProfile<'_>, shapes: &Profile) -> Result<(), trtx::Error> {
    if shapes.tensor.contains('\0') {
        return Err(trtx::Error::InvalidArgument(format!(
            "`{}` is no name of an input",
            shapes.tensor.escape_debug()
        )));
    }
    let of = |shape: &[usize]| {
        let sizes: Vec<i64> = shape.iter().map(|size| *size as i64).collect();
        Dims64::from_slice(&sizes)
    };
    profile.set_dimensions(&shapes.tensor, OptProfileSelector::kMIN, &of(&shapes.min))?;
    profile.set_dimensions(&shapes.tensor, OptProfileSelector::kOPT, &of(&shapes.opt))?;
    profile.set_dimensions(&shapes.tensor, OptProfileSelector::kMAX, &of(&shapes.max))
}

/// The network's inputs and outputs.
fn ends(network: &NetworkDefinition<'_>, profiles: &[Profile]) -> Result<Vec<End>, trtx::Error> {
    let end = |tensor: trtx::Tensor<'_>, is_input: bool| {
        let name = tensor.name(network)?;
        Ok::<_, trtx::Error>(End {
            profile: profiles.iter().find(|profile| is_input && profile.tensor == name).cloned(),
            // `kHALF`, as the layers write it: `Half`.
            dtype: format!("{:?}", tensor.data_type(network)).trim_start_matches('k').to_owned(),
            shape: tensor.dimensions(network)?,
            name,
            is_input,
        })
    };
    let inputs = network.inputs().map(|tensor| end(tensor, true));
    inputs.chain(network.outputs().map(|tensor| end(tensor, false))).collect()
}

/// Called between steps of a build.
struct Watch(Arc<AtomicBool>);

impl MonitorProgress for Watch {
    fn phase_start(&self, _phase: &str, _parent: Option<&str>, _steps: i32) {}

    fn step_complete(&self, _phase: &str, _step: i32) -> ControlFlow<()> {
        if self.0.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn phase_finish(&self, _phase: &str) {}
}

/// What the library says during one build.
#[derive(Clone, Default)]
struct Messages(Arc<Mutex<Vec<Message>>>);

impl Messages {
    fn taken(&self) -> Vec<Message> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl LogHandler for Messages {
    fn log(&self, severity: Severity, text: &str) {
        let weight = match severity {
            Severity::InternalError | Severity::Error => Weight::Error,
            Severity::Warning => Weight::Warning,
            Severity::Info => Weight::Info,
            Severity::Verbose => Weight::Verbose,
        };
        // Of thousands of verbose messages one is wanted.
        if weight != Weight::Verbose || layers::is_layers(text) {
            let message = Message { weight, text: text.to_owned() };
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        }
    }
}

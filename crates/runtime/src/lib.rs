//! Running a graph on a backend, comparing what comes out, timing it.
//!
//! A [`Backend`] loads a graph on one device and never falls back to another: what cannot run here is an error that
//! names the node. All inputs are checked against the graph before a backend sees them, so every backend refuses the
//! same mistakes with the same words.

pub mod backends;
mod checks;
pub mod compare;
mod error;
pub mod latency;
mod loading;
pub mod machine;
mod memory;
mod source;
pub mod tools;

pub use backends::{BACKENDS, backend};
pub use compare::{Comparison, OutputComparison, compare, compare_outputs};
pub use error::Error;
pub use latency::{Latency, Protocol, Sampling, measure};
pub use machine::{Gpu, Machine};
pub use memory::keep_memory;
pub use source::OnnxSource;

use graph::{Tensor, ValueInfo};

/// Something that runs graphs.
pub trait Backend: Sync {
    /// The name that users choose it by.
    fn name(&self) -> &'static str;

    /// The version and the device.
    ///
    /// # Errors
    /// Why it cannot be used on this machine.
    fn probe(&self) -> Result<Probe, Error>;

    /// What it is known to do otherwise than a graph says, or not at all: a line each, for users.
    fn gaps(&self) -> &'static [&'static str] {
        &[]
    }

    /// Makes a graph ready to run.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::Graph`] when the file is no graph, [`Error::Unsupported`] with the node that this
    /// backend cannot run, [`Error::Load`] and [`Error::Panicked`] with the backend's words.
    fn load(&self, source: OnnxSource<'_>, options: &LoadOptions) -> Result<Box<dyn Session>, Error>;
}

/// What a backend says about itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Probe {
    /// Library and version.
    pub version: String,
    /// What it computes on.
    pub device: String,
}

/// How to load a graph.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Threads to compute with. `None` and 0: one for each physical core that this process may use.
    pub threads: Option<usize>,
}

/// A loaded graph.
pub trait Session: Send {
    /// What the graph takes, in its order.
    fn inputs(&self) -> &[ValueInfo];

    /// What the graph gives, in its order.
    fn outputs(&self) -> &[ValueInfo];

    /// Runs the graph once. Every input has to be given, in any order; outputs come in the graph's order, in the element
    /// types that the graph declares.
    ///
    /// # Errors
    /// [`Error::MissingInput`], [`Error::UnknownInput`], [`Error::RepeatedInput`], [`Error::WrongInput`],
    /// [`Error::IntegerRange`] for the inputs; [`Error::Run`] and [`Error::Panicked`] with the backend's words.
    fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, Error>;

    /// Threads that it computes with; `None` where that means nothing.
    fn threads(&self) -> Option<usize> {
        None
    }
}

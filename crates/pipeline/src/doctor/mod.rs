//! `doctor`: what this machine can do, what is missing for which job, and the command that repairs it.
//!
//! `facts` looks and does not judge, `checks` and `engines` judge and do not look.

mod checks;
mod engines;
mod facts;

use std::path::Path;

use serde::Serialize;

pub use facts::Looking;

use crate::Error;
use checks::CHECKS;
use facts::Facts;

/// Something that a machine is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Job {
    /// From a source to a package.
    Import,
    /// `--exporter python`.
    PythonExporter,
    /// TensorRT engines.
    Build,
    /// The backend `onnxruntime`.
    Onnxruntime,
    /// The backend `onnxruntime-cuda`.
    OnnxruntimeCuda,
    /// Decoding and encoding of videos.
    Video,
    /// What the target `deepstream` delivers.
    Deepstream,
    /// What the target `triton` delivers.
    Triton,
    /// What the target `isaac-ros` delivers.
    IsaacRos,
}

impl Job {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Import,
        Self::PythonExporter,
        Self::Build,
        Self::Onnxruntime,
        Self::OnnxruntimeCuda,
        Self::Video,
        Self::Deepstream,
        Self::Triton,
        Self::IsaacRos,
    ];

    /// Its name, as users type it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::PythonExporter => "python-exporter",
            Self::Build => "build",
            Self::Onnxruntime => "onnxruntime",
            Self::OnnxruntimeCuda => "onnxruntime-cuda",
            Self::Video => "video",
            Self::Deepstream => "deepstream",
            Self::Triton => "triton",
            Self::IsaacRos => "isaac-ros",
        }
    }
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Not there.
    Missing,
    /// There, and of no use.
    Wrong,
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// What was looked at; of an engine its path.
    pub name: String,
    /// How it is.
    pub state: State,
    /// What was found.
    pub found: String,
    /// The jobs that need it.
    pub needed_for: Vec<Job>,
    /// What repairs it.
    pub repair: Option<String>,
}

/// Everything that was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct Diagnosis {
    /// The machine's things, in the order of the table.
    pub machine: Vec<Finding>,
    /// The engines that were asked about.
    pub engines: Vec<Finding>,
    /// The jobs that cannot be done here.
    pub not_possible: Vec<Job>,
}

/// Looks at this machine, and at the engines of a package or at one engine.
///
/// # Errors
/// [`Error::Io`] and [`Error::Graph`] for a file that is no engine, [`Error::NotAModel`] for a folder that is no package.
pub fn examine(looking: &Looking, subject: Option<&Path>) -> Result<Diagnosis, Error> {
    let engines = subject.map(engines::read).transpose()?.unwrap_or_default();
    let facts = Facts::gather(looking);
    let machine: Vec<Finding> = CHECKS.iter().map(|check| check.finding(&facts)).collect();
    let lacks = |job: &Job| {
        machine.iter().any(|finding| finding.state != State::Ok && finding.needed_for.contains(job))
    };
    let not_possible = Job::ALL.iter().copied().filter(lacks).collect();
    let mut engines: Vec<Finding> = engines.iter().map(|engine| engine.finding(&facts)).collect();
    if let (Some(package), true) = (subject, engines.is_empty()) {
        engines.push(engines::none(package));
    }
    Ok(Diagnosis { machine, engines, not_possible })
}

//! `sightline runtime`: inference libraries, by pinned digest or from a file of the user's.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use pipeline::hub::libraries::{self, Installed, LIBRARIES, Origin, PackageIndex};
use pipeline::hub::{self, Client};
use pipeline::runtime::backends::onnxruntime;
use pipeline::runtime::tools::tensorrt_rtx;
use pipeline::{Error, Event};
use serde::Serialize;

use super::shared::hub_config;
use crate::Failure;
use crate::env;
use crate::output::Output;
use crate::progress::Progress;

/// Arguments of `runtime`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// What is there, where it is from, and whether it loads
    List,
    /// Fetch a library (its official Python wheel, by pinned SHA-256; no Python needed), or register a file
    Install(Install),
}

#[derive(Debug, clap::Args)]
struct Install {
    /// The library
    #[arg(value_name = "NAME", value_parser = PossibleValuesParser::new(LIBRARIES.iter().map(|library| library.name)))]
    name: String,
    /// Use this library file instead of fetching one
    #[arg(long, value_name = "FILE", conflicts_with = "index_url")]
    path: Option<PathBuf>,
    /// Package index to fetch from, such as a mirror (also by `PIP_INDEX_URL`); the SHA-256 stays [default: the wheel's
    /// own address at files.pythonhosted.org]
    #[arg(long, value_name = "URL")]
    index_url: Option<String>,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<ExitCode, Failure> {
    match &args.action {
        Action::List => output.result(&Listed::look())?,
        Action::Install(install) => output.result(&install.run(output)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells the backends which library to load: the one that the environment names, else one that is installed.
pub(crate) fn name_library() {
    if let Some(path) = in_use() {
        // The first call of a process cannot be refused.
        let _ = onnxruntime::use_library(&path);
    }
}

/// The library file of the ONNX Runtime backends. A process loads one, so one has to serve them all: a file that the user
/// named, else the one for graphics processors, which has the processor's backend too.
fn in_use() -> Option<PathBuf> {
    if let Some(path) = env::lookup("SIGHTLINE_ONNXRUNTIME") {
        return Some(std::path::absolute(&path).unwrap_or_else(|_| path.into()));
    }
    let rank = |found: &Installed| match (&found.origin, found.name.as_str()) {
        (Origin::Path, _) => 0,
        (Origin::Wheel { .. }, "onnxruntime-gpu") => 1,
        (Origin::Wheel { .. }, _) => 2,
    };
    let found =
        libraries::installed(&env::libraries()).into_iter().filter(|found| found.name != tensorrt_rtx::NAME);
    found.min_by_key(rank).map(|found| found.library)
}

/// The library of TensorRT for RTX: a file that the user named, else the installed one.
pub(super) fn tensorrt_rtx_library() -> Option<PathBuf> {
    let found =
        libraries::installed(&env::libraries()).into_iter().filter(|found| found.name == tensorrt_rtx::NAME);
    found.min_by_key(|found| found.origin != Origin::Path).map(|found| found.library)
}

/// What a library file says that it is: `ONNX Runtime 1.32.0`.
fn stated(name: &str, library: &Path) -> Result<(&'static str, String), pipeline::runtime::Error> {
    Ok(match name {
        tensorrt_rtx::NAME => ("TensorRT for RTX", tensorrt_rtx::library_version(library)?),
        _ => ("ONNX Runtime", onnxruntime::library_version(library)?),
    })
}

impl Install {
    fn run(&self, output: &Output) -> Result<Made, Error> {
        let root = env::libraries();
        let installed = match &self.path {
            Some(path) => self.register(path, &root)?,
            None => self.fetch(&root, output)?,
        };
        let (library, version) = stated(&self.name, &installed.library)?;
        Ok(Made { loads: format!("{library} {version}"), installed })
    }

    fn register(&self, path: &Path, root: &Path) -> Result<Installed, Error> {
        if !path.is_file() {
            return Err(hub::Error::NoSuchPath { path: path.to_owned() }.into());
        }
        let path = path.canonicalize().map_err(|source| Error::Io { path: path.to_owned(), source })?;
        let (_, version) = stated(&self.name, &path)?;
        Ok(libraries::register(&self.name, &version, &path, root)?)
    }

    fn fetch(&self, root: &Path, output: &Output) -> Result<Installed, Error> {
        let library = libraries::library(&self.name)?;
        let index = self.index_url.clone().or_else(|| env::lookup("PIP_INDEX_URL"));
        let index: Option<PackageIndex> = index.map(|index| index.parse()).transpose()?;
        let client = Client::new(hub_config()?)?;
        let progress = Progress::new(output);
        let made = libraries::install(&client, library, index.as_ref(), root, &mut |event| {
            progress.show(&match &event {
                hub::Event::Note(message) => Event::Note { step: "install", message },
                other => Event::Download(other),
            });
        });
        progress.clear();
        Ok(made?)
    }
}

/// What `install` did.
#[derive(Serialize)]
struct Made {
    #[serde(flatten)]
    installed: Installed,
    /// What the library said when it was opened.
    loads: String,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}: {}", self.installed.name, self.loads, self.installed.library.display())
    }
}

/// What `list` shows.
#[derive(Serialize)]
struct Listed {
    /// Where libraries are installed.
    folder: PathBuf,
    installed: Vec<Line>,
    available: Vec<Available>,
}

#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    installed: Installed,
    /// Whether it can be opened on this machine.
    loads: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// Whether the backends take this one.
    in_use: bool,
}

/// A library that can be installed.
#[derive(Serialize)]
struct Available {
    name: &'static str,
    version: &'static str,
    about: &'static str,
    /// Bytes to fetch; absent where it is not built for this processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
}

impl Listed {
    fn look() -> Self {
        let folder = env::libraries();
        let mut found = libraries::installed(&folder);
        let (in_use, rtx) = (in_use(), tensorrt_rtx_library());
        if let Some(path) = env::lookup("SIGHTLINE_ONNXRUNTIME") {
            let library = std::path::absolute(&path).unwrap_or_else(|_| path.into());
            let (name, version) = ("SIGHTLINE_ONNXRUNTIME".to_owned(), "unknown".to_owned());
            found.push(Installed { name, version, library, origin: Origin::Path, files: [].into() });
        }
        let line = |mut installed: Installed| {
            let opened = stated(&installed.name, &installed.library);
            let problem = opened.as_ref().err().map(ToString::to_string);
            if let Ok((_, version)) = opened {
                installed.version = version;
            }
            let in_use = [&in_use, &rtx].into_iter().flatten().any(|library| *library == installed.library);
            Line { loads: problem.is_none(), problem, in_use, installed }
        };
        let size = |library: &libraries::Library| {
            let here = library.wheels.iter().find(|wheel| wheel.architecture == std::env::consts::ARCH);
            here.map(|wheel| wheel.size)
        };
        let available = LIBRARIES.iter().map(|library| Available {
            name: library.name,
            version: library.version,
            about: library.about,
            size: size(library),
        });
        Self { folder, installed: found.into_iter().map(line).collect(), available: available.collect() }
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "installed ({})", self.folder.display())?;
        for line in &self.installed {
            let Installed { name, version, library, origin, .. } = &line.installed;
            let state = match (&line.problem, line.in_use) {
                (Some(problem), _) => problem.as_str(),
                (None, true) => "loads, in use",
                (None, false) => "loads",
            };
            writeln!(f, "  {name:<16} {version:<8} {state}")?;
            match origin {
                Origin::Wheel { file, .. } => writeln!(f, "{:27} {} (of {file})", "", library.display())?,
                Origin::Path => writeln!(f, "{:27} {}", "", library.display())?,
            }
        }
        if self.installed.is_empty() {
            writeln!(f, "  none")?;
        }
        writeln!(f, "can be installed (`sightline runtime install NAME`)")?;
        for Available { name, version, about, size } in &self.available {
            let size = size
                .map_or_else(|| "not for this processor".into(), |size| format!("{} MB", size / 1_000_000));
            writeln!(f, "  {name:<16} {version:<8} {about} ({size})")?;
        }
        Ok(())
    }
}

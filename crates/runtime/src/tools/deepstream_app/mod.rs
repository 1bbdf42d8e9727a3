//! `deepstream-app`: NVIDIA's video pipeline as a program that reads its configuration from a file.

mod log;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use log::{PerfLog, StreamRates};

use crate::Error;
use crate::tools::child::{self, Ending, Heard};
use crate::tools::programs;

const NAME: &str = "deepstream-app";
/// Where NVIDIA's packages put it.
const INSTALLED: &str = "/opt/nvidia/deepstream/deepstream";

/// A `DeepStream` installation.
#[derive(Debug, Clone)]
pub struct DeepStreamApp {
    /// The program.
    pub program: PathBuf,
    /// The folder of the installation, where it was found.
    pub root: PathBuf,
    /// Its version, where a file tells it.
    pub version: Option<String>,
}

/// How a run ended.
#[derive(Debug)]
pub struct AppRun {
    /// All lines that it printed.
    pub log: String,
    /// Whether it was ended because enough was seen.
    pub stopped: bool,
}

impl DeepStreamApp {
    /// The program on `path` (the value of `PATH`), else in NVIDIA's own place. `root` is the folder of the installation;
    /// `None` for the usual one.
    ///
    /// # Errors
    /// [`Error::ToolMissing`].
    pub fn find(root: Option<&Path>, path: Option<&OsStr>) -> Result<Self, Error> {
        let root = root.map_or_else(|| PathBuf::from(INSTALLED), Path::to_owned);
        // Programs run in other folders.
        let root = std::path::absolute(&root).unwrap_or(root);
        let own = root.join("bin");
        let missing =
            || Error::ToolMissing { tool: NAME, places: format!("on PATH or in `{}`", own.display()) };
        let program = programs::find(NAME, path, &[&own]).ok_or_else(missing)?;
        let version = std::fs::read_to_string(root.join("version")).ok();
        // `Version: 7.1`
        let version = version.and_then(|text| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix("Version:"))?;
            Some(line.trim().to_owned()).filter(|version| !version.is_empty())
        });
        Ok(Self { program, root, version })
    }

    /// The video that every installation has.
    pub fn sample_video(&self) -> PathBuf {
        self.root.join("samples/streams/sample_720p.mp4")
    }

    /// Runs a configuration from the folder `place` until it ends, `is_enough` says so of a line or of the time that goes
    /// by (`None`), or `limit` is over.
    ///
    /// # Errors
    /// [`Error::Tool`] with its words when it fails or runs out of time; [`Error::Cancelled`].
    pub fn run(
        &self,
        config: &Path,
        place: &Path,
        limit: Duration,
        cancelled: &AtomicBool,
        is_enough: &mut dyn FnMut(Option<&str>) -> bool,
    ) -> Result<AppRun, Error> {
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(config).current_dir(place);
        let (stop, mut log, mut enough) = (AtomicBool::new(false), String::new(), false);
        let mut complaint = None;
        let begun = Instant::now();
        let ended = child::run(&mut command, limit, Some(&stop), &mut |heard| {
            let line = match heard {
                Heard::Line(line) => {
                    log.push_str(line);
                    log.push('\n');
                    complaint = complaint.take().or_else(|| log::complaint(line));
                    Some(line)
                }
                Heard::Tick => None,
            };
            enough = enough || is_enough(line);
            if enough || cancelled.load(Ordering::Relaxed) {
                stop.store(true, Ordering::Relaxed);
            }
        });
        let failed = |reason: String| Error::Tool { tool: NAME, reason };
        let ended = ended.map_err(|error| failed(error.to_string()))?;
        if cancelled.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        match ended.ending {
            Ending::Cancelled => Ok(AppRun { log, stopped: true }),
            Ending::TimedOut => Err(failed(format!("not done after {} s", begun.elapsed().as_secs()))),
            Ending::Exited(_) if ended.is_success() && !log.contains(log::FAILED) => {
                Ok(AppRun { log, stopped: false })
            }
            Ending::Exited(_) => Err(failed(complaint.unwrap_or_else(|| ended.last_words()))),
        }
    }
}

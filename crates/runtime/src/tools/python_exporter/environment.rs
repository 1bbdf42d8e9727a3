//! The environment that exporting with Python needs: made once, shared by all models.
//!
//! It lies in a folder that is named by what is installed. It is built beside that folder and renamed into place after a
//! marker was written, so an installation that was interrupted is never taken for a finished one.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::Event;
use crate::Error;
use crate::tools::child::{self, Heard};

/// What is installed.
const REQUIREMENTS: &str = include_str!("requirements.txt");
/// Bytes on the disk that it takes, and bytes that are fetched.
const SIZE: u64 = 7_200_000_000;
const FETCHED: u64 = 3_100_000_000;
/// Versions of Python for which there are packages.
const VERSIONS: std::ops::RangeInclusive<u32> = 10..=13;
/// Written last.
const MARKER: &str = "complete";
/// What a finished environment has to be able to do.
const CHECK: &str =
    "import onnx, onnxruntime, onnxscript, optimum.exporters.onnx, timm, torch, torchvision, transformers";
/// How long a question may take.
const PATIENCE: Duration = Duration::from_mins(5);

/// Where Python is and where its environment goes.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The cache folder that holds the environment.
    pub cache: PathBuf,
    /// The interpreter: `python3`, or a path.
    pub python: PathBuf,
    /// All environment variables of the programs that are started; `PATH` and the proxies belong to them.
    pub variables: Vec<(OsString, OsString)>,
    /// How long the installation may take.
    pub install_limit: Duration,
    /// How long one attempt may take.
    pub attempt_limit: Duration,
}

/// An environment that is complete.
#[derive(Debug, Clone)]
pub(super) struct Environment {
    python: PathBuf,
    variables: Vec<(OsString, OsString)>,
}

impl Environment {
    /// The interpreter, away from the user's own packages and settings.
    pub(super) fn python(&self) -> Command {
        python(&self.python, &self.variables)
    }

    /// The environment in the cache; it is installed when it is not there.
    ///
    /// # Errors
    /// [`Error::Tool`] when Python is missing or of another version, or the installation does not succeed.
    pub(super) fn ready(setup: &Setup, tell: &mut dyn FnMut(Event<'_>)) -> Result<Self, Error> {
        let folder = setup.cache.join("python-exporter").join(name());
        let variables = setup.variables.clone();
        let ready = Self { python: interpreter(&folder), variables };
        if is_complete(&folder) {
            return Ok(ready);
        }
        let parent = setup.cache.join("python-exporter");
        fs::create_dir_all(&parent).map_err(|error| at(&parent, &error))?;
        // Two imports at the same time install once.
        let lock = parent.join("lock");
        let lock = locked(&lock, tell).map_err(|error| at(&lock, &error))?;
        if !is_complete(&folder) {
            install(setup, &folder, tell)?;
        }
        drop(lock);
        Ok(ready)
    }
}

/// The lock file, once it is ours.
fn locked(path: &Path, tell: &mut dyn FnMut(Event<'_>)) -> std::io::Result<File> {
    let file = File::create(path)?;
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        tell(Event::Line("another import is installing the environment"));
        file.lock()?;
    }
    Ok(file)
}

/// What `folder` is called: by what is installed, so that another version gets another one.
fn name() -> String {
    let digest = REQUIREMENTS.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |digest, byte| {
        (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{digest:016x}")
}

fn is_complete(folder: &Path) -> bool {
    fs::read_to_string(folder.join(MARKER)).is_ok_and(|content| content == REQUIREMENTS)
}

fn install(setup: &Setup, folder: &Path, tell: &mut dyn FnMut(Event<'_>)) -> Result<(), Error> {
    check_version(setup)?;
    let building = folder.with_extension("building");
    for stale in [folder, &building] {
        if stale.exists() {
            fs::remove_dir_all(stale).map_err(|error| at(stale, &error))?;
        }
    }
    tell(Event::Installing { folder, size: SIZE, fetched: FETCHED });
    let done = fill(setup, &building, tell).and_then(|()| {
        let marker = building.join(MARKER);
        fs::write(&marker, REQUIREMENTS).map_err(|error| at(&marker, &error))?;
        fs::rename(&building, folder).map_err(|error| at(folder, &error))
    });
    if done.is_err() {
        // What is left would only take room.
        let _ = fs::remove_dir_all(&building);
    }
    done
}

/// Makes the environment and installs the packages; an environment may be moved as long as only its interpreter is used.
fn fill(setup: &Setup, building: &Path, tell: &mut dyn FnMut(Event<'_>)) -> Result<(), Error> {
    let mut make = python(&setup.python, &setup.variables);
    make.args(["-m", "venv"]).arg(building);
    step("making the environment", &mut make, PATIENCE, tell)?;
    let requirements = building.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS).map_err(|error| at(&requirements, &error))?;
    let mut fetch = pip(&interpreter(building), &setup.variables);
    fetch.args(["install", "--no-input", "--progress-bar", "off", "--disable-pip-version-check"]);
    fetch.args(["--only-binary", ":all:", "--requirement"]).arg(&requirements);
    step("installing", &mut fetch, setup.install_limit, tell)?;
    let mut check = python(&interpreter(building), &setup.variables);
    check.args(["-c", CHECK]);
    step("importing what was installed", &mut check, PATIENCE, tell)
}

fn step(
    what: &str,
    command: &mut Command,
    limit: Duration,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<(), Error> {
    let mut hear = |heard: Heard<'_>| {
        if let Heard::Line(line) = heard {
            tell(Event::Line(line));
        }
    };
    let ended = child::run(command, limit, None, &mut hear).map_err(|error| not_started(&error))?;
    if ended.is_success() { Ok(()) } else { Err(failed(format!("{what}: {}", ended.last_words()))) }
}

/// Refuses a Python for which there are no packages, before anything is fetched.
fn check_version(setup: &Setup) -> Result<(), Error> {
    let mut ask = python(&setup.python, &setup.variables);
    ask.args(["-c", "import sys; print('version', *sys.version_info[:2])"]);
    let ended = child::run(&mut ask, PATIENCE, None, &mut |_| {}).map_err(|error| not_started(&error))?;
    let version = ended.lines.iter().find_map(|line| line.strip_prefix("version 3 ")?.trim().parse().ok());
    match version {
        Some(minor) if VERSIONS.contains(&minor) => Ok(()),
        Some(minor) => Err(failed(format!(
            "this is Python 3.{minor}; there are packages for 3.{} to 3.{}",
            VERSIONS.start(),
            VERSIONS.end()
        ))),
        None => Err(failed(format!("it does not say its version: {}", ended.last_words()))),
    }
}

/// Python that neither reads the user's settings nor their packages.
fn python(program: &Path, variables: &[(OsString, OsString)]) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(variables.iter().map(|(name, value)| (name, value)));
    // Lines come when they are printed, and nothing is written beside the packages while they are imported.
    command.arg("-I").env("PYTHONUNBUFFERED", "1");
    command.arg("-u");
    command
}

fn pip(program: &Path, variables: &[(OsString, OsString)]) -> Command {
    let mut command = python(program, variables);
    command.args(["-m", "pip"]);
    command
}

fn interpreter(folder: &Path) -> PathBuf {
    if cfg!(windows) { folder.join("Scripts").join("python.exe") } else { folder.join("bin").join("python") }
}

fn failed(reason: String) -> Error {
    Error::Tool { tool: "python", reason }
}

fn not_started(error: &std::io::Error) -> Error {
    failed(match error.kind() {
        std::io::ErrorKind::NotFound => "it is not installed".into(),
        _ => error.to_string(),
    })
}

fn at(path: &Path, error: &std::io::Error) -> Error {
    failed(format!("`{}`: {error}", path.display()))
}

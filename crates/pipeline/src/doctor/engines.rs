//! Whether engines can be read on this machine: TensorRT loads an engine of its own version only, built on such a GPU.

use std::fs;
use std::path::{Path, PathBuf};

use deploy::TensorRt;
use graph::Plan;

use super::facts::Facts;
use super::{Finding, Job, State};
use crate::Error;
use crate::build::inspect_engine;
use crate::subject::read_manifest;

/// Where `build` puts them, in a package.
const FOLDER: &str = "benchmarks/engines";

/// An engine, and what is known of how it came to be.
pub(super) struct Engine {
    path: PathBuf,
    /// What `build` is to be given to make it again.
    source: PathBuf,
    plan: Plan,
    build: Option<TensorRt>,
}

/// The engines of a package, or the one in a file.
pub(super) fn read(subject: &Path) -> Result<Vec<Engine>, Error> {
    if subject.is_file() {
        return Ok(vec![Engine::read(subject, subject.with_extension("onnx"))?]);
    }
    read_manifest(subject)?;
    let mut files = engine_files(&subject.join(FOLDER));
    files.sort();
    files.iter().map(|file| Engine::read(file, subject.to_owned())).collect()
}

/// Those in a folder and, where there are several GPUs, in its folders.
fn engine_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries
        .flat_map(|path| if path.is_dir() { engine_files(&path) } else { vec![path] })
        .filter(|path| is_engine(path))
        .collect()
}

fn is_engine(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "engine" || extension == "plan")
}

/// What is said of a package without engines.
pub(super) fn none(package: &Path) -> Finding {
    Finding {
        name: package.join(FOLDER).display().to_string(),
        state: State::Missing,
        found: "no engine was built yet".into(),
        needed_for: vec![Job::Deepstream, Job::IsaacRos],
        repair: Some(format!("sightline build {}", package.display())),
    }
}

impl Engine {
    fn read(path: &Path, source: PathBuf) -> Result<Self, Error> {
        let facts = inspect_engine(path, None)?;
        Ok(Self { path: path.to_owned(), source, plan: facts.plan, build: facts.build })
    }

    /// How it goes with this machine.
    pub(super) fn finding(&self, facts: &Facts) -> Finding {
        let (state, found) = self.judge(facts);
        Finding {
            name: self.path.display().to_string(),
            state,
            found,
            needed_for: vec![Job::Deepstream, Job::Triton, Job::IsaacRos],
            repair: (state != State::Ok).then(|| self.repair()),
        }
    }

    fn judge(&self, facts: &Facts) -> (State, String) {
        let version = self.plan.version;
        let own = (u32::from(version.major), u32::from(version.minor), u32::from(version.patch));
        let program = facts.trtexec.as_ref().ok().map(|(_, version)| version);
        let mut here: Vec<_> = facts.nvinfer.iter().chain(program).collect();
        here.sort();
        here.dedup();
        if !facts.has_gpu() {
            return (State::Wrong, format!("of TensorRT {version}, and there is no GPU to run it on"));
        }
        if here.is_empty() {
            return (State::Wrong, format!("of TensorRT {version}, and there is no TensorRT here"));
        }
        if !here.iter().any(|here| (here.major, here.minor, here.patch) == own) {
            let here = here.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let found =
                format!("of TensorRT {version}, here is {here}: another version's engine is not read");
            return (State::Wrong, found);
        }
        let Some(built_for) = self.build.as_ref().and_then(|build| build.engine.build.as_ref()) else {
            return (State::Ok, format!("of TensorRT {version}; which GPU it is for is not recorded"));
        };
        let gpus = &facts.machine.gpus;
        if !gpus.is_empty() && !gpus.iter().any(|gpu| gpu.name == built_for.gpu) {
            let here = gpus.iter().map(|gpu| gpu.name.as_str()).collect::<Vec<_>>().join(", ");
            return (State::Wrong, format!("built for {}, here is {here}", built_for.gpu));
        }
        (State::Ok, format!("of TensorRT {version}, for {}", built_for.gpu))
    }

    /// The command that builds it anew, here.
    fn repair(&self) -> String {
        let mut command = format!("sightline build {}", self.source.display());
        if let Some(TensorRt { engine, .. }) = &self.build {
            command = format!("{command} --precision {}", engine.precision);
            if let Some(build) = &engine.build {
                command =
                    format!("{command} --batch {}:{}:{}", build.min_batch, build.opt_batch, engine.max_batch);
            }
        }
        command
    }
}

//! The engine of a package that was just imported, where this machine can build one.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pipeline::deploy::Precision;
use pipeline::runtime::tools::jetson;
use pipeline::runtime::tools::trtexec::Trtexec;
use pipeline::runtime::{self, Machine};
use pipeline::{Builder, Building, Built, Error, Event, Imported, Request};

use super::shared::on_interrupt;
use crate::output::Output;
use crate::progress::Progress;
use crate::{Failure, env};

/// Whether an import builds an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Engine {
    /// Where `trtexec` and a GPU are
    Auto,
    /// Left to `sightline build`
    Never,
}

/// Whether this machine builds engines for a request.
pub(super) fn builder(request: &Request) -> Result<Option<Builder>, runtime::Error> {
    let has_gpu = || !Machine::detect().gpus.is_empty() || jetson::release().is_some();
    if !pipeline::wants_engine(request.targets.as_deref()) || !has_gpu() {
        return Ok(None);
    }
    let (named, path) = (env::lookup("SIGHTLINE_TRTEXEC"), env::lookup("PATH"));
    let found = Trtexec::find(named.as_deref().map(Path::new), path.as_ref().map(AsRef::as_ref));
    found.map(|trtexec| Some(Builder::Trtexec(trtexec)))
}

/// Builds an engine of a package that has none whose checks passed, compares and times it, and names it in the deployments. The
/// package is whole without: what fails is a warning.
///
/// # Errors
/// [`runtime::Error::Cancelled`]; those of reading the package.
pub(super) fn add(
    imported: Imported,
    request: &Request,
    output: &Output,
) -> Result<(Imported, Vec<Built>), Failure> {
    let kept = imported.measurements.tensorrt.as_ref();
    if kept.is_some_and(pipeline::deploy::TensorRt::passed) {
        return Ok((imported, Vec::new()));
    }
    let builder = match builder(request) {
        Ok(Some(builder)) => builder,
        Ok(None) => return Ok((imported, Vec::new())),
        Err(error @ runtime::Error::ToolMissing { .. }) => {
            output.say(&format!(
                "   engine  none: there is a GPU, but {error} (`sightline doctor --for build`)"
            ));
            return Ok((imported, Vec::new()));
        }
        Err(error) => {
            output.warn(&format!("no engine was built: {error}"));
            return Ok((imported, Vec::new()));
        }
    };
    let package = imported.folder.clone();
    let built = match build(&package, request, &builder, &on_interrupt()?, output) {
        Ok(built) => built,
        Err(Error::Runtime(error)) if matches!(*error, runtime::Error::Cancelled) => {
            return Err(Error::Runtime(error).into());
        }
        Err(error) => {
            let package = package.display();
            output.warn(&format!(
                "the package is whole, but no engine was built: {error}; `sightline build {package}` tries again"
            ));
            Vec::new()
        }
    };
    if !built.is_empty() && built.iter().all(|engine| engine.passed) {
        let named = pipeline::name_engine(&package, request.targets.as_deref(), request.frame);
        if let Err(error) = named {
            let package = package.display();
            output.warn(&format!(
                "the engine was built, but not every deployment names it: {error}; `sightline deploy {package}` tries again"
            ));
        }
    }
    Ok((Imported::read(&package)?, built))
}

fn build(
    package: &Path,
    request: &Request,
    builder: &Builder,
    cancelled: &Arc<AtomicBool>,
    output: &Output,
) -> Result<Vec<Built>, Error> {
    let options = Building {
        images: request.first_images(Building::IMAGES)?,
        bounds: request.bounds.clone(),
        reference: request.backend.clone(),
        command_line: request.command_line.clone(),
        ..Building::of_package(Precision::Fp16)
    };
    let progress = Progress::new(output);
    let tell = |event: Event<'_>| progress.show(&event);
    let built = pipeline::build_best(package, &options, builder, cancelled, &tell);
    progress.clear();
    built
}

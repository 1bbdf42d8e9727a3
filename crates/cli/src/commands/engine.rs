//! The engine of a package that was just imported, where this machine can build one.

use std::path::Path;

use pipeline::deploy::Precision;
use pipeline::runtime::Machine;
use pipeline::runtime::tools::trtexec::Trtexec;
use pipeline::{AllBounds, Builder, Building, Built, Error, Event, ImageSet, Imported, Request, runtime};

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

/// What an engine is built for.
pub(super) struct Wanted {
    /// The targets that were chosen; `None` for all.
    pub(super) targets: Option<Vec<String>>,
    /// Width and height of the frames of video.
    pub(super) frame: (u32, u32),
    /// The images that answers are compared on.
    pub(super) images: Option<std::path::PathBuf>,
    pub(super) bounds: AllBounds,
    pub(super) command_line: String,
}

impl Wanted {
    pub(super) fn of(request: &Request) -> Self {
        Self {
            targets: request.targets.clone(),
            frame: request.frame,
            images: request.images.clone(),
            bounds: request.bounds.clone(),
            command_line: request.command_line.clone(),
        }
    }

    /// Builds an engine, compares and times it, and names it in the deployments; none where one is there already, and where
    /// this machine builds none. The package is whole without: what fails is a warning.
    ///
    /// # Errors
    /// [`runtime::Error::Cancelled`].
    pub(super) fn build(
        self,
        imported: Imported,
        output: &Output,
    ) -> Result<(Imported, Vec<Built>), Failure> {
        let targets = self.targets.as_deref();
        let is_done = imported.measurements.tensorrt.is_some();
        if is_done || !pipeline::wants_engine(targets) || Machine::detect().gpus.is_empty() {
            return Ok((imported, Vec::new()));
        }
        let (named, path) = (env::lookup("SIGHTLINE_TRTEXEC"), env::lookup("PATH"));
        let found = Trtexec::find(named.as_deref().map(Path::new), path.as_ref().map(AsRef::as_ref));
        let Ok(trtexec) = found else {
            output.say(
                "   engine  none: there is a GPU but no `trtexec` (`sightline doctor --for build` says more)",
            );
            return Ok((imported, Vec::new()));
        };
        let cancelled = on_interrupt()?;
        let images = self.images.as_deref().map(ImageSet::of_folder).transpose()?;
        let options = Building {
            images: images.unwrap_or_else(ImageSet::built_in),
            bounds: self.bounds,
            command_line: self.command_line,
            ..Building::of_package(Precision::Fp16)
        };
        let without = imported.clone();
        let progress = Progress::new(output);
        let tell = |event: Event<'_>| progress.show(&event);
        let builder = Builder::Trtexec(trtexec);
        let added =
            pipeline::add_engine(imported, targets, self.frame, &options, &builder, &cancelled, &tell);
        progress.clear();
        match added {
            Ok(added) => Ok(added),
            Err(Error::Runtime(error)) if matches!(*error, runtime::Error::Cancelled) => {
                Err(Error::Runtime(error).into())
            }
            Err(error) => {
                let package = without.folder.display();
                output.warn(&format!(
                    "the package is whole, but no engine was built: {error}; `sightline build {package}` tries again"
                ));
                Ok((without, Vec::new()))
            }
        }
    }
}

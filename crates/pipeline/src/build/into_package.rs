//! The engine of a package that was just made: built where this machine can, and named in the deployments.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use deploy::Precision;
use deploy::targets::triton;

use super::{Builder, Building, Built, build, read_measurements};
use crate::deployment::is_inexpressible;
use crate::run::Event;
use crate::subject::read_manifest;
use crate::{Error, Imported, deliver_target};

/// The targets whose files name an engine.
const TARGETS: [&str; 3] = [triton::FOLDER, "deepstream", "isaac-ros"];

/// Whether one of these targets runs an engine; all do when none are chosen.
pub fn wants_engine(targets: Option<&[String]>) -> bool {
    chosen(targets).next().is_some()
}

fn chosen(targets: Option<&[String]>) -> impl Iterator<Item = &'static str> {
    let is_chosen = move |target: &&str| targets.is_none_or(|names| names.iter().any(|name| name == target));
    TARGETS.into_iter().filter(is_chosen)
}

/// Builds engines of a package; in fp32 where fp16 is asked for and TensorRT takes that from a graph which is not there.
///
/// # Errors
/// Those of [`build`].
pub fn build_best(
    package: &Path,
    options: &Building,
    builder: &Builder,
    cancelled: &Arc<AtomicBool>,
    tell: &dyn Fn(Event<'_>),
) -> Result<Vec<Built>, Error> {
    match build(package, options, builder, cancelled, tell) {
        Err(Error::NoVariant { precision: Precision::Fp16, .. }) => {
            let single = Building { precision: Precision::Fp32, ..options.clone() };
            build(package, &single, builder, cancelled, tell)
        }
        built => built,
    }
}

/// Names the engine that a package has in its deployments to `targets` (all, when none are chosen) for `frame`s of that size.
///
/// # Errors
/// Those of [`deliver_target`], but not for a target that cannot run this detector.
pub fn name_engine(package: &Path, targets: Option<&[String]>, frame: (u32, u32)) -> Result<(), Error> {
    for target in chosen(targets) {
        match deliver_target(package, target, frame) {
            Err(error) if !is_inexpressible(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

impl Imported {
    /// What a package says of itself.
    ///
    /// # Errors
    /// [`Error::NotAPackage`], [`Error::Io`] and [`Error::Deploy`] for a folder that is none.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let (manifest, measurements) = (read_manifest(folder)?, read_measurements(folder)?);
        Ok(Self { folder: folder.to_owned(), manifest, measurements })
    }

    /// Whether no check of the package failed, nor one of its engine.
    pub fn passed(&self) -> bool {
        let engine = self.measurements.tensorrt.as_ref();
        self.manifest.passed() && engine.is_none_or(deploy::TensorRt::passed)
    }
}

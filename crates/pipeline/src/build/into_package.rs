//! The engine of a package that was just made.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use deploy::Precision;
use deploy::targets::triton;

use super::{Builder, Building, Built, build, read_measurements};
use crate::run::Event;
use crate::subject::read_manifest;
use crate::{Error, Imported, deliver_target};

/// The targets whose files name an engine.
const TARGETS: [&str; 3] = [triton::FOLDER, "deepstream", "isaac-ros"];

/// Whether one of these targets runs an engine; all do when none are chosen.
pub fn wants_engine(targets: Option<&[String]>) -> bool {
    TARGETS.iter().any(|target| is_chosen(targets, target))
}

fn is_chosen(targets: Option<&[String]>, target: &str) -> bool {
    targets.is_none_or(|chosen| chosen.iter().any(|one| one == target))
}

/// Builds an engine of a package, and names it in its deployments to `targets` (all, when none are chosen) for `frame`s of
/// that size. In fp32 where fp16 is asked for and TensorRT takes it from a graph that the package does not have.
///
/// # Errors
/// Those of [`build`] and [`deliver_target`]; the package is whole in any case.
pub fn add_engine(
    imported: Imported,
    targets: Option<&[String]>,
    frame: (u32, u32),
    options: &Building,
    builder: &Builder,
    cancelled: &Arc<AtomicBool>,
    tell: &dyn Fn(Event<'_>),
) -> Result<(Imported, Vec<Built>), Error> {
    let folder = imported.folder;
    let built = match build(&folder, options, builder, cancelled, tell) {
        Err(Error::NoVariant { precision: Precision::Fp16, .. }) => {
            let single = Building { precision: Precision::Fp32, ..options.clone() };
            build(&folder, &single, builder, cancelled, tell)?
        }
        built => built?,
    };
    for target in TARGETS.into_iter().filter(|target| is_chosen(targets, target)) {
        match deliver_target(&folder, target, frame) {
            // The import has told what cannot run this detector.
            Ok(_) | Err(Error::Deploy(deploy::Error::Inexpressible { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    let (manifest, measurements) = (read_manifest(&folder)?, read_measurements(&folder)?);
    Ok((Imported { folder, manifest, measurements }, built))
}

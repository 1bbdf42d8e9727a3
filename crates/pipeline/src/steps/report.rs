//! Writes the report from what was recorded.

use std::collections::BTreeMap;

use deploy::report::{Command, PrecisionRecall, ReportData, Sample, render};
use deploy::{Manifest, Measurements};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::place::{PackageFile, keep};
use crate::run::StepContext;

/// Everything that the report says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) manifest: Manifest,
    pub(crate) measurements: Measurements,
    pub(crate) curves: Vec<PrecisionRecall>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) commands: Vec<Command>,
}

/// Renders the report's files. `files` are those of the package, the sample images among them.
pub(crate) fn report(
    facts: &Facts,
    files: &[PackageFile],
    context: &StepContext<'_, '_>,
) -> Result<Vec<PackageFile>, Error> {
    let mut images = BTreeMap::new();
    for sample in &facts.samples {
        if let Some(file) = files.iter().find(|file| file.path == sample.path) {
            let path = context.store().path(&file.blob);
            let bytes = std::fs::read(&path).map_err(|source| Error::Io { path, source })?;
            images.insert(sample.path.clone(), bytes);
        }
    }
    let data = ReportData {
        manifest: facts.manifest.clone(),
        measurements: facts.measurements.clone(),
        curves: facts.curves.clone(),
        samples: facts.samples.clone(),
        commands: facts.commands.clone(),
    };
    keep(render(&data, &images)?, files, context)
}

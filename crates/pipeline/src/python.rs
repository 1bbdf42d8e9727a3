//! Graphs that Python exports, for a family that has no exporter here.
//!
//! The graph goes the way of every ONNX file afterwards: it is described, checked and compared.

use std::path::{Path, PathBuf};

use runtime::tools::python_exporter::{Event as Happening, Failure, Request, Setup, Task, export};

use crate::Error;
use crate::run::Event;
use crate::steps::EXPORT;
use crate::steps::export::ExportOptions;

/// Where the report of a failed export goes, below the folder that the model was to go to.
const REPORT: &str = "reports/export_failure.md";

/// Writes `model.onnx` in `folder` from the checkpoint in the folder `source`.
///
/// # Errors
/// [`Error::Runtime`] when Python cannot be used or no attempt succeeds; then the attempts are reported in `out`.
pub(crate) fn export_with_python(
    source: &Path,
    options: &ExportOptions,
    setup: &Setup,
    folder: &Path,
    out: &Path,
    tell: &dyn Fn(Event<'_>),
) -> Result<PathBuf, Error> {
    let path = folder.join("model.onnx");
    let prompted = !options.prompt.is_empty();
    let request = Request {
        model: source,
        out: &path,
        task: if prompted { Task::ZeroShotObjectDetection } else { Task::ObjectDetection },
        opset: options.opset.unwrap_or(models::ExportOptions::default().opset),
        size: options.size.map(|(width, height)| (height, width)),
        prompt: &options.prompt,
    };
    let note = |message: &str| tell(Event::Note { step: EXPORT.name, message });
    let exported = export(&request, setup, &mut |event| match event {
        Happening::Installing { folder, size, fetched } => note(&format!(
            "Python's exporters are installed once in {}: {:.1} GB, {:.1} GB to fetch",
            folder.display(),
            size as f64 / 1e9,
            fetched as f64 / 1e9
        )),
        Happening::Attempt { number, attempt } => note(&format!("attempt {number}: {attempt}")),
        Happening::Failed(failed) => note(&format!("{}: {}", failed.attempt, failed.reason)),
        Happening::Line(line) => note(line),
    });
    match exported {
        Ok(_) => Ok(path),
        Err(runtime::Error::PythonExport(failure)) => {
            let report = write_report(&failure, out)?;
            tell(Event::Warning {
                step: EXPORT.name,
                message: &format!("every attempt: {}", report.display()),
            });
            Err(runtime::Error::PythonExport(failure).into())
        }
        Err(error) => Err(error.into()),
    }
}

fn write_report(failure: &Failure, out: &Path) -> Result<PathBuf, Error> {
    let path = out.join(REPORT);
    let folder = path.parent().unwrap_or(out);
    crate::store::create_dir(folder)?;
    let at = |source| Error::Io { path: path.clone(), source };
    crate::package::write_whole(folder, &path, |file, _| {
        std::io::Write::write_all(file, failure.report().as_bytes()).map_err(at)
    })?;
    Ok(path)
}

//! What a video showed, into the package's measurements and report.

use std::path::Path;

use deploy::{Capture, DeepStream, LocalRun, Manifest, Precision, paths};

use super::local::Played;
use crate::Error;
use crate::build::{amend, read_measurements};
use crate::subject::read_manifest;

/// What the report calls the command.
const LOCAL: &str = "Play a video";
const DEEPSTREAM: &str = "Run streams in DeepStream";

/// Records a run without `DeepStream`.
pub(super) fn local(package: &Path, played: &Played, command: &str) -> Result<(), Error> {
    let inside = |path: &Path| path.strip_prefix(package).unwrap_or(path).to_string_lossy().into_owned();
    let run = LocalRun {
        backend: played.backend.clone(),
        seconds: (played.seconds * 1e3).round() / 1e3,
        frames_read: played.frames,
        capture: Capture {
            video: name_of(&played.video),
            kitti_folder: inside(&played.kitti),
            frames: played.gate.frames,
            frames_with_detections: played.gate.frames_with_detections,
            mode: played.mode,
            artefact: played.drawn.as_deref().map(inside),
            passed: played.gate.passed,
        },
    };
    amend(package, LOCAL, command, |measurements| measurements.video = Some(run))?;
    Ok(())
}

/// Records a run in `DeepStream`; gives the files that were written.
pub(super) fn deepstream(
    package: &Path,
    run: &DeepStream,
    version: Option<&str>,
    command: &str,
) -> Result<Vec<String>, Error> {
    amend(package, DEEPSTREAM, command, |measurements| {
        if let Some(version) = version {
            measurements.machine.software.insert("DeepStream".into(), version.to_owned());
        }
        measurements.deepstream = Some(run.clone());
    })
}

/// What is recorded of videos in the package that is about to be replaced, as long as its graph stays.
pub(crate) fn kept(older: &Path, manifest: &Manifest) -> (Option<DeepStream>, Option<LocalRun>) {
    let path = paths::model(&manifest.name, Precision::Fp32);
    let digest = |manifest: &Manifest| Some(manifest.artefact(&path)?.sha256.clone());
    let is_same = read_manifest(older).is_ok_and(|older| digest(&older) == digest(manifest));
    match read_measurements(older) {
        Ok(measured) if is_same => (measured.deepstream, measured.video),
        _ => (None, None),
    }
}

/// The file's name: where it lies on this machine is nobody's concern.
pub(super) fn name_of(video: &Path) -> String {
    video.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

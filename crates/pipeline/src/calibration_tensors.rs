//! Calibration images as raw tensors, for calibrators of the user's own: `calib_0000.bin`, `calib_0001.bin` …, each the
//! image tensor of one image in the element type and order that the network takes, little-endian, without a header.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use detect::preprocess;

use crate::package::write_whole;
use crate::{Error, Event, ImageSet, Subject};

/// Writes one file an image, by the detector's own preprocessing. Gives the paths.
///
/// # Errors
/// Those of decoding and of writing; files that are whole by then stay.
pub fn write_calibration_tensors(
    subject: &Subject,
    images: &ImageSet,
    folder: &Path,
    tell: &dyn Fn(Event<'_>),
) -> Result<Vec<PathBuf>, Error> {
    crate::store::create_dir(folder)?;
    let input = &subject.detector.input;
    let total = images.images.len() as u64;
    let mut written = Vec::new();
    for (at, image) in images.images.iter().enumerate() {
        tell(Event::Progress { step: "quantize", unit: "tensors", done: at as u64, total });
        let prepared = preprocess(input, &[image.decode()?])?;
        let Some((_, tensor)) = prepared.inputs.iter().find(|(name, _)| *name == input.tensor) else {
            return Err(Error::Options(format!("the description has no image input `{}`", input.tensor)));
        };
        let path = folder.join(format!("calib_{at:04}.bin"));
        write_whole(folder, &path, |file, _| {
            file.write_all(&tensor.bytes()).map_err(|source| Error::Io { path: path.clone(), source })
        })?;
        written.push(path);
    }
    tell(Event::Progress { step: "quantize", unit: "tensors", done: total, total });
    Ok(written)
}

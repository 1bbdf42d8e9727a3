//! The package's configurations, made to play this video with this engine.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use deploy::targets::{DeepStreamFiles, deepstream_key, with_deepstream_keys};
use tempfile::NamedTempFile;

use super::engine::Engine;
use crate::Error;

/// The three configurations of deepstream-app.
pub(super) struct Configs {
    folder: PathBuf,
    single: String,
    kitti: String,
    perf: String,
    uri: String,
    /// Width and height that frames are scaled to, in which boxes come out.
    pub(super) frame: (u32, u32),
}

/// Which run a configuration is for.
#[derive(Clone, Copy)]
pub(super) enum Kind<'p> {
    /// Drawn into this file.
    Single(&'p Path),
    /// Detections into this folder.
    Kitti(&'p Path),
    /// So many streams.
    Perf(u32),
}

impl Configs {
    /// # Errors
    /// [`Error::NoTarget`] for a package without them, [`Error::Io`] for a video that is not there.
    pub(super) fn open(package: &Path, files: &DeepStreamFiles, video: &Path) -> Result<Self, Error> {
        let read = |path: &str| match std::fs::read_to_string(package.join(path)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Error::NoTarget {
                package: package.to_owned(),
                target: "deepstream",
                file: path.to_owned(),
            }),
            other => other.map_err(|source| Error::Io { path: package.join(path), source }),
        };
        let video =
            std::fs::canonicalize(video).map_err(|source| Error::Io { path: video.to_owned(), source })?;
        let kitti = read(&files.kitti)?;
        let side = |key: &str| deepstream_key(&kitti, "streammux", key).and_then(|value| value.parse().ok());
        let usual = deploy::targets::USUAL_FRAME;
        let frame = side("width").zip(side("height")).unwrap_or(usual);
        read(&files.source)?;
        Ok(Self {
            folder: package.join("config"),
            single: read(&files.single)?,
            perf: read(&files.perf)?,
            kitti,
            uri: uri(&video),
            frame,
        })
    }

    pub(super) fn uri(&self) -> &str {
        &self.uri
    }

    /// Writes the configuration of a run beside the package's own, as its paths are relative; it goes when it is dropped.
    pub(super) fn write(&self, kind: Kind<'_>, engine: &Engine) -> Result<NamedTempFile, Error> {
        let gie = |key, value| ("primary-gie", key, value);
        let infer = engine.config.rsplit('/').next().unwrap_or_default();
        let file = format!("../{}", engine.path);
        let mut changes = vec![
            ("source0", "uri", self.uri.as_str()),
            gie("config-file", infer),
            gie("model-engine-file", &file),
        ];
        let (place, count);
        let text = match kind {
            Kind::Single(video) => {
                place = video.display().to_string();
                changes.push(("sink0", "output-file", &place));
                &self.single
            }
            Kind::Kitti(folder) => {
                place = folder.display().to_string();
                changes.push(("application", "gie-kitti-output-dir", &place));
                &self.kitti
            }
            Kind::Perf(streams) => {
                count = streams.to_string();
                changes.extend([
                    ("source0", "num-sources", count.as_str()),
                    ("streammux", "batch-size", &count),
                    gie("batch-size", &count),
                ]);
                &self.perf
            }
        };
        let at = |source| Error::Io { path: self.folder.clone(), source };
        let made = tempfile::Builder::new().prefix(".partial-").suffix(".txt").tempfile_in(&self.folder);
        let mut file = made.map_err(at)?;
        file.write_all(with_deepstream_keys(text, &changes).as_bytes()).map_err(at)?;
        Ok(file)
    }
}

/// `file:///a%20b.mp4`
fn uri(path: &Path) -> String {
    let mut uri = String::from("file://");
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_uris() {
        assert_eq!(uri(Path::new("/a b/ü.mp4")), "file:///a%20b/%C3%BC.mp4");
    }
}

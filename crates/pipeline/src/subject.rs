//! A MODEL as the single jobs take it: an ONNX file or a package, with its description.

use std::path::{Path, PathBuf};

use deploy::{Manifest, Precision, paths};
use detect::Detector;

use crate::mapped::{MappedFiles, map_file};
use crate::{Error, ExportOptions};

/// A graph on the disk and its description.
#[derive(Debug)]
pub struct Subject {
    /// The model's name.
    pub name: String,
    /// The ONNX file.
    pub onnx: PathBuf,
    /// The description.
    pub detector: Detector,
}

impl Subject {
    /// Opens a package, or an ONNX file. The file's description comes from its own metadata, else from the files
    /// beside it and `options`.
    pub fn open(path: &Path, options: &ExportOptions) -> Result<Self, Error> {
        if !path.is_dir() {
            return Self::of_file(path, options);
        }
        if *options != ExportOptions::default() {
            return Err(Error::Options("a package describes itself: `--labels`, `--head`, `--resize` and `--normalize` are for ONNX files".into()));
        }
        Self::of_package(path)
    }

    fn of_package(folder: &Path) -> Result<Self, Error> {
        let manifest = read_manifest(folder)?;
        let onnx = folder.join(paths::model(&manifest.name, Precision::Fp32));
        Ok(Self { name: manifest.name.to_string(), onnx, detector: manifest.detector })
    }

    fn of_file(path: &Path, options: &ExportOptions) -> Result<Self, Error> {
        if !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx")) && path.exists()
        {
            return Err(Error::NotAModel { path: path.to_owned() });
        }
        let model = graph::onnx::read_structure(map_file(path)?)?;
        options.require_open(&model)?;
        let beside = files_beside(path)?;
        let detector = models::import_onnx(&model, &MappedFiles::new(beside), &options.for_onnx()?)?;
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self { name, onnx: path.to_owned(), detector })
    }
}

/// The manifest of a package.
pub(crate) fn read_manifest(folder: &Path) -> Result<Manifest, Error> {
    let path = folder.join(paths::MANIFEST);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Manifest::from_json(&text)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::NotAModel { path: folder.to_owned() })
        }
        Err(source) => Err(Error::Io { path, source }),
    }
}

/// The small files in the folder of an ONNX file, which may describe it.
fn files_beside(path: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let at = |source| Error::Io { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(at)? {
        let entry = entry.map_err(at)?;
        if let (Ok(name), true) = (entry.file_name().into_string(), entry.path().is_file()) {
            files.push((name, entry.path()));
        }
    }
    files.sort();
    Ok(files)
}

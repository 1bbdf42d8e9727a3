//! What an engine is built from, and where it goes.

use std::path::{Path, PathBuf};

use deploy::{PackageName, Precision, paths};
use detect::Detector;
use graph::{DataType, Dim, Facts, Model};

use super::Builder;
use crate::steps::verify::carried;
use crate::{Error, ExportOptions, Subject, map_file};

/// A package or an ONNX file, and the folder in which `benchmarks` goes.
pub(super) struct Place {
    pub(super) name: PackageName,
    /// The fp32 graph with its description: what an engine is compared with.
    pub(super) subject: Subject,
    /// The package, where MODEL is one.
    pub(super) package: Option<PathBuf>,
    /// The folder that paths are relative to.
    pub(super) root: PathBuf,
}

/// A graph that an engine is built from.
pub(super) struct Source {
    pub(super) onnx: PathBuf,
    /// Its path from the root where it lies below it, else its name.
    pub(super) path: String,
    /// Its graph, without weights.
    pub(super) model: Model,
    /// The description that it carries.
    pub(super) detector: Detector,
    /// Scales for INT8, for a TensorRT that takes them from a file.
    pub(super) calibration: Option<PathBuf>,
}

impl Place {
    /// Opens MODEL. `out` is the folder for what is built from an ONNX file.
    pub(super) fn open(model: &Path, out: Option<&Path>, describe: &ExportOptions) -> Result<Self, Error> {
        let subject = Subject::open(model, describe)?;
        let absolute = |path: &Path| {
            std::fs::canonicalize(path).map_err(|source| Error::Io { path: path.to_owned(), source })
        };
        let subject = Subject { onnx: absolute(&subject.onnx)?, ..subject };
        if model.is_dir() {
            if out.is_some() {
                return Err(Error::Options(
                    "what is built from a package goes into it: leave out `--out`".into(),
                ));
            }
            let root = absolute(model)?;
            return Ok(Self { name: subject.name.parse()?, subject, package: Some(root.clone()), root });
        }
        // It is made when something goes into it.
        let root = out.unwrap_or(Path::new("."));
        let there = std::fs::canonicalize(root).or_else(|_| std::path::absolute(root));
        let root = there.map_err(|source| Error::Io { path: root.to_owned(), source })?;
        Ok(Self { name: file_name(&subject.name).parse()?, subject, package: None, root })
    }

    /// The folder whose `.sightline` remembers builds.
    pub(super) fn store_folder(&self) -> &Path {
        match &self.package {
            Some(package) => package.parent().unwrap_or(package),
            None => &self.root,
        }
    }

    /// What an engine of this precision is built from by this TensorRT.
    ///
    /// # Errors
    /// [`Error::NoVariant`] when the graph or the calibration cache that it takes is not there.
    pub(super) fn source(
        &self,
        precision: Precision,
        builder: &Builder,
        calibration: Option<&Path>,
    ) -> Result<Source, Error> {
        let own = self.open_source(&self.subject.onnx, None)?;
        let facts = Facts::of(&own.model);
        let is_half =
            facts.precisions.iter().any(|share| share.dtype == DataType::F16 && share.parameter_share > 0.5);
        let is_rounded = own.model.graph.nodes.iter().any(|node| node.op_type == "QuantizeLinear");
        let by_flags = builder.takes_precision_by_flags();
        match precision {
            Precision::Fp32 => Ok(own),
            Precision::Fp16 if by_flags || is_half => Ok(own),
            Precision::Int8 if is_rounded => Ok(own),
            _ => {
                let cache = calibration.map(Path::to_owned).or_else(|| self.calibration());
                match cache.filter(|_| by_flags) {
                    None => self.variant(precision, builder),
                    cache => self.open_source(&self.subject.onnx, cache),
                }
            }
        }
    }

    /// The calibration cache of the package, or beside the ONNX file.
    fn calibration(&self) -> Option<PathBuf> {
        let file = match &self.package {
            Some(package) => package.join(paths::CALIBRATION_CACHE),
            None => self.subject.onnx.with_file_name("calibration.cache"),
        };
        file.is_file().then_some(file)
    }

    /// The graph of another precision: of the package, or beside the ONNX file.
    fn variant(&self, precision: Precision, builder: &Builder) -> Result<Source, Error> {
        let beside = || {
            let stem = self.subject.onnx.file_stem().unwrap_or_default().to_string_lossy();
            self.subject.onnx.with_file_name(format!("{stem}_{precision}.onnx"))
        };
        let of_package = |package: &PathBuf| package.join(paths::model(&self.name, precision));
        let file = self.package.as_ref().map_or_else(beside, of_package);
        if !file.is_file() {
            return Err(Error::NoVariant { file, precision, tensorrt: builder.version() });
        }
        self.open_source(&file, None)
    }

    fn open_source(&self, onnx: &Path, calibration: Option<PathBuf>) -> Result<Source, Error> {
        let model = graph::onnx::read_structure(map_file(onnx)?)?;
        let detector = if onnx == self.subject.onnx {
            self.subject.detector.clone()
        } else {
            carried(onnx).unwrap_or_else(|_| self.subject.detector.clone())
        };
        let below = onnx.strip_prefix(&self.root).ok().map(|path| path.to_string_lossy().into_owned());
        let name = || onnx.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Source { onnx: onnx.to_owned(), path: below.unwrap_or_else(name), model, detector, calibration })
    }
}

impl Source {
    /// The inputs with this number as their batch, wherever it is open.
    pub(super) fn fix_batch(&mut self, batch: u32) {
        for info in &mut self.model.graph.inputs {
            let is_image = info.name == self.detector.input.tensor;
            if let Some(first) = info.shape.as_mut().and_then(|shape| shape.first_mut())
                && (is_image || first.fixed().is_none())
            {
                *first = Dim::Fixed(batch as usize);
            }
        }
    }
}

/// The name of a file as one of a package: what cannot be in it becomes `_`.
pub(super) fn file_name(stem: &str) -> String {
    let plain: String =
        stem.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
    let begins = plain.starts_with(|c: char| c.is_ascii_alphanumeric());
    let name = if begins { plain } else { format!("model{plain}") };
    name.replace("..", "_").trim_end_matches('.').chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_name_becomes_the_name_of_an_engine() {
        for (stem, expected) in
            [("yolo11n", "yolo11n"), ("a b", "a_b"), ("_x", "model_x"), ("", "model"), ("a..b.", "a_b")]
        {
            assert_eq!(file_name(stem), expected);
            assert!(file_name(stem).parse::<PackageName>().is_ok(), "{stem}");
        }
    }
}

//! Where things are in a package, and the files of `config/` that derive from the detector alone.
//!
//! The folder names are fixed by the documents that the project started from; nothing is written flat.

use detect::Detector;

use crate::{Error, FileTree};

/// Paths from the package's root.
pub mod paths {
    use crate::targets::Form;
    use crate::{PackageName, Precision};

    /// Source, detector, artefacts and checks.
    pub const MANIFEST: &str = "manifest.json";
    /// What differs from run to run.
    pub const MEASUREMENTS: &str = "measurements.json";
    /// Class names, one a line.
    pub const LABELS: &str = "config/labels.txt";
    /// TensorRT's calibration cache, for TensorRT up to 10.
    pub const CALIBRATION_CACHE: &str = "config/calibration.cache";
    /// The detector's description.
    pub const DETECTOR: &str = "config/detector.json";
    /// Folder of annotated images.
    pub const SAMPLES: &str = "samples";
    /// Folder of the report.
    pub const REPORTS: &str = "reports";
    /// The report's numbers.
    pub const BENCHMARK_DATA: &str = "reports/benchmark_data.json";

    /// The ONNX file of a precision: `model/<name>.onnx`, `model/<name>_fp16.onnx` …
    pub fn model(name: &PackageName, precision: Precision) -> String {
        match precision {
            Precision::Fp32 => format!("model/{name}.onnx"),
            other => format!("model/{name}_{other}.onnx"),
        }
    }

    /// Times of TensorRT's kernels, kept between builds.
    pub const TIMING_CACHE: &str = "benchmarks/engines/timing.cache";

    /// The ONNX file for video pipelines, which resize by themselves: `model/<name>_video.onnx`, or
    /// `model/<name>_fp16_video_1280x720.onnx` where it is made for frames of one size.
    pub fn video_model(name: &PackageName, precision: Precision, frame: Option<(u32, u32)>) -> String {
        let size = frame.map_or_else(String::new, |(width, height)| format!("_{width}x{height}"));
        let plain = model(name, precision);
        format!("{}_video{size}.onnx", plain.strip_suffix(".onnx").unwrap_or(&plain))
    }

    /// The ONNX file of a form: `model/<name>.onnx`, `model/<name>_end2end.onnx`, `model/<name>_raw.onnx`.
    pub fn form(name: &PackageName, form: Form) -> String {
        format!("model/{name}{}.onnx", form.suffix())
    }

    /// The engine of a form: `benchmarks/engines/<name>_end2end_dynamic_b<max>.engine` …
    pub fn engine_of(name: &PackageName, form: Form, max_batch: u32) -> String {
        format!("benchmarks/engines/{name}{}_dynamic_b{max_batch}.engine", form.suffix())
    }

    /// An engine for every batch up to a maximum: `benchmarks/engines/<name>_dynamic_b<max>.engine`.
    pub fn engine(name: &PackageName, max_batch: u32) -> String {
        format!("benchmarks/engines/{name}_dynamic_b{max_batch}.engine")
    }

    /// An engine for one batch only: `benchmarks/engines/<name>_static_b<batch>.engine`.
    pub fn static_engine(name: &PackageName, batch: u32) -> String {
        format!("benchmarks/engines/{name}_static_b{batch}.engine")
    }

    /// An engine of TensorRT for RTX; `label` is what it is for, such as `sm86`:
    /// `benchmarks/engines/<name>_rtx_<label>_dynamic_b<batch>.engine`, or `_static_b<batch>` for one batch only.
    pub fn rtx_engine(name: &PackageName, label: &str, batch: u32, is_static: bool) -> String {
        let kind = if is_static { "static" } else { "dynamic" };
        format!("benchmarks/engines/{name}_rtx_{label}_{kind}_b{batch}.engine")
    }

    /// What `trtexec` printed while it timed an engine: `benchmarks/b<batch>/trtexec_b<batch>.log`.
    pub fn trtexec_log(batch: u32) -> String {
        format!("benchmarks/b{batch}/trtexec_b{batch}.log")
    }

    /// The PDF report.
    pub fn pdf_report(name: &PackageName) -> String {
        format!("{REPORTS}/benchmark_report_{name}.pdf")
    }
}

/// `config/labels.txt` and `config/detector.json`.
///
/// # Errors
/// None with the paths as they are; the type is the tree's.
pub fn config_files(detector: &Detector) -> Result<FileTree, Error> {
    let mut tree = FileTree::new();
    tree.add(paths::LABELS, detector.labels.to_lines())?;
    tree.add(paths::DETECTOR, detector.to_json())?;
    Ok(tree)
}

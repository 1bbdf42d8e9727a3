//! Command lines for the reader: what fills a part that was not measured here, and what made the package.
//!
//! A package name needs no quoting ([`crate::PackageName`]); tensor names do.

use detect::Frames;

use super::ReportData;
use crate::shell::shell_word;

/// A part that this machine cannot measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// Needs TensorRT and an NVIDIA GPU.
    TensorRt,
    /// Needs `DeepStream` and an NVIDIA GPU.
    DeepStream,
    /// Needs annotated images.
    Annotations,
    /// Needs images.
    Images,
    /// Needs a backend.
    Backend,
}

impl Missing {
    /// What is missing, in one line; the command follows.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::TensorRt => "On a machine with an NVIDIA GPU and TensorRT, run:",
            Self::DeepStream => "On a machine with an NVIDIA GPU and DeepStream, run:",
            Self::Annotations => "With images and their annotations in COCO form, run:",
            Self::Images => "With images of the kind that the detector is for, run:",
            Self::Backend => "No backend was timed in this run. Run:",
        }
    }

    /// The command that fills it.
    pub(super) fn command(self, data: &ReportData) -> String {
        let manifest = &data.manifest;
        match self {
            Self::TensorRt => format!("sightline build models/{} --backend trtexec", manifest.name),
            Self::DeepStream => format!("sightline run deepstream models/{}", manifest.name),
            Self::Annotations => "sightline import SOURCE --images DIR --annotations instances.json".into(),
            Self::Images => "sightline import SOURCE --images DIR".into(),
            Self::Backend => format!("sightline bench models/{}", manifest.name),
        }
    }
}

/// The `trtexec` lines of the reference commands: build, then measure at batch 1 and at the maximum.
///
/// `--fp16` is a flag up to TensorRT 10; from 11 on the precision is in the graph and the flag is refused. Where an engine was
/// built, its own command stands here.
pub(super) fn trtexec(data: &ReportData, model: &str) -> [String; 3] {
    let manifest = &data.manifest;
    let built = data.measurements.tensorrt.as_ref().map(|tensorrt| &tensorrt.engine);
    let engine_batch = built.map_or(manifest.max_batch, |engine| engine.max_batch);
    let engine = built
        .map_or_else(|| crate::paths::engine(&manifest.name, engine_batch), |engine| engine.path.clone());
    let shape = |batch: u32| shape(data, batch);
    let measure = |batch: u32| {
        format!(
            "trtexec --loadEngine={engine} \\\n  --shapes={} --noDataTransfers --duration=10 --warmUp=1000",
            shape(batch)
        )
    };
    let build = built.and_then(|engine| Some(engine.build.as_ref()?.command.clone()));
    let build = build.unwrap_or_else(|| {
        format!(
            "mkdir -p benchmarks/engines\ntrtexec --onnx={model} \\\n  --saveEngine={engine} \\\n  --minShapes={} \\\n  --optShapes={} \\\n  --maxShapes={} \\\n  \
             --fp16 --memPoolSize=workspace:32768M \\\n  \
             --timingCacheFile=benchmarks/engines/timing.cache --skipInference",
            shape(1),
            shape(engine_batch),
            shape(engine_batch),
        )
    });
    [build, measure(1), measure(engine_batch)]
}

/// The image input's shape as `trtexec` takes it, quoted. Frames have any size: HD stands for it.
fn shape(data: &ReportData, batch: u32) -> String {
    let input = &data.manifest.detector.input;
    let tensor = &input.tensor;
    shell_word(&match &input.frames {
        None => format!("{tensor}:{batch}x3x{}x{}", input.height, input.width),
        Some(Frames::Rgb | Frames::Bgr) => format!("{tensor}:{batch}x1080x1920x3"),
        Some(Frames::Nv12 { uv, .. }) => format!("{tensor}:{batch}x1080x1920,{uv}:{batch}x540x960x2"),
    })
}

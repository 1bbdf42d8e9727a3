//! `config_infer_primary_<name>.txt`: what nvinfer is told. Paths are relative to the file, that is to `config/`.

use std::fmt::Write;

use detect::{ChannelOrder, Detector, ImageInput, Resize, Thresholds};

use super::names::Names;
use super::{Deployment, Video, cluster, files};
use crate::shell::shell_word;
use crate::targets::video::one_std;
use crate::{Engine, Precision, paths};

/// How nvinfer suppresses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Cluster {
    /// Class by class, at this overlap.
    Nms(f32),
    /// Not at all.
    None,
}

/// The config of one precision.
pub(super) struct Infer<'a> {
    deployment: &'a Deployment<'a>,
    detector: &'a Detector,
    names: &'a Names,
    labels: &'static str,
    precision: Precision,
    onnx: String,
}

impl<'a> Infer<'a> {
    pub(super) fn new(
        deployment: &'a Deployment<'a>,
        video: &'a Video,
        names: &'a Names,
        labels: &'static str,
        precision: Precision,
    ) -> Self {
        // INT8 by calibration cache is the float graph with scales beside it.
        let graph = if precision == Precision::Int8 { Precision::Fp32 } else { precision };
        let onnx = video.onnx(deployment, graph);
        Self { deployment, detector: &video.detector, names, labels, precision, onnx }
    }

    /// Its path in the package.
    pub(super) fn path(&self) -> String {
        let name = self.deployment.name;
        match self.precision {
            Precision::Fp32 => path_of(name),
            other => format!("config/config_infer_primary_{name}_{other}.txt"),
        }
    }

    /// The engine's path in the package: of the one that was built, else after the graph's file, and the precision where
    /// that is no other file.
    fn engine(&self) -> String {
        if let Some(built) = self.built() {
            return built.path.clone();
        }
        let file = self.onnx.rsplit('/').next().unwrap_or_default();
        let stem = file.strip_suffix(".onnx").unwrap_or(file);
        let precision = if self.precision == Precision::Int8 { "_int8" } else { "" };
        format!("benchmarks/engines/{stem}{precision}_dynamic_b{}.engine", self.deployment.max_batch)
    }

    fn built(&self) -> Option<&Engine> {
        self.deployment.built(&self.onnx, self.precision)
    }

    /// The frames that are detected in at once: as many as the engine takes.
    pub(super) fn batch(&self) -> u32 {
        self.built().map_or(self.deployment.max_batch, |engine| engine.max_batch)
    }

    /// The text of the file.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "# nvinfer (DeepStream 6.3 to 9.2) for {}, {}. Paths are relative to this file.\n\n[property]\n",
            self.deployment.name, self.precision
        );
        let groups = [self.files(), self.network(), self.pixels(), self.boxes()];
        for (index, (comment, keys)) in groups.iter().enumerate() {
            let gap = if index == 0 { "" } else { "\n" };
            let _ = writeln!(text, "{gap}# {comment}");
            for (key, value) in keys {
                let _ = writeln!(text, "{key}={value}");
            }
        }
        text + "\n[class-attrs-all]\n" + &self.thresholds()
    }

    fn files(&self) -> (String, Vec<(&'static str, String)>) {
        let mut keys = vec![
            ("onnx-file", from_config(&self.onnx)),
            ("model-engine-file", from_config(&self.engine())),
            ("labelfile-path", from_config(self.labels)),
            ("custom-lib-path", from_config(&self.names.library())),
            ("parse-bbox-func-name", self.names.symbol.clone()),
        ];
        if self.precision == Precision::Int8 {
            keys.push(("int8-calib-file", from_config(paths::CALIBRATION_CACHE)));
        }
        ("The engine and the parser's library are made on this machine: see deepstream.md.".to_owned(), keys)
    }

    fn network(&self) -> (String, Vec<(&'static str, String)>) {
        let ImageInput { width, height, .. } = self.detector.input;
        let (mode, strongly_typed, why) = match self.precision {
            Precision::Fp32 => (0, false, "network-mode 0 is fp32, the precision that was verified."),
            Precision::Fp16 => (
                0,
                true,
                "The graph itself says what is fp16 and what stays fp32: no mode may be set beside that.",
            ),
            Precision::Int8 => (1, false, "network-mode 1 is INT8 by the calibration cache."),
        };
        let mut keys = vec![
            ("gpu-id", "0".to_owned()),
            ("gie-unique-id", "1".to_owned()),
            ("process-mode", "1".to_owned()),
            ("network-type", "0".to_owned()),
            ("interval", "0".to_owned()),
            ("batch-size", self.batch().to_string()),
            ("network-mode", mode.to_string()),
            ("infer-dims", format!("3;{height};{width}")),
        ];
        if strongly_typed {
            keys.push(("strongly-typed", "1".to_owned()));
        }
        (why.to_owned(), keys)
    }

    fn pixels(&self) -> (String, Vec<(&'static str, String)>) {
        let input = &self.detector.input;
        // nvinfer gives net-scale-factor * (pixel - offset); the description says (pixel * scale - mean) / std.
        let scale = f64::from(input.scale);
        let factor = scale / f64::from(one_std(input).unwrap_or(1.0));
        let mut keys = vec![
            ("model-color-format", if input.channels == ChannelOrder::Rgb { "0" } else { "1" }.to_owned()),
            ("network-input-order", "0".to_owned()),
            ("net-scale-factor", number(factor)),
        ];
        if input.mean.iter().any(|mean| *mean != 0.0) {
            let offsets = input.mean.map(|mean| number(f64::from(mean) / scale));
            keys.push(("offsets", offsets.join(";")));
        }
        let (keeps, centred) = match input.resize {
            Resize::Letterbox { centred, .. } => ("1", centred),
            Resize::Stretch | Resize::ShortestEdge { .. } => ("0", false),
        };
        keys.push(("maintain-aspect-ratio", keeps.to_owned()));
        keys.push(("symmetric-padding", u8::from(centred).to_string()));
        keys.push(("scaling-filter", "1".to_owned()));
        ("net-scale-factor * (pixel - offset); frames are resized bilinearly.".to_owned(), keys)
    }

    fn boxes(&self) -> (String, Vec<(&'static str, String)>) {
        let head = &self.detector.head;
        let why = match cluster(head) {
            Cluster::Nms(_) => "cluster-mode 2: nvinfer suppresses overlapping boxes, class by class.",
            Cluster::None => "cluster-mode 4: boxes are final as the parser gives them.",
        };
        let mut keys = vec![
            ("num-detected-classes", self.detector.labels.len().to_string()),
            ("cluster-mode", files::mode(head).to_string()),
        ];
        let outputs = head.outputs();
        // All outputs of an ONNX graph are bound anyway; a name with a `;` cannot be written here.
        if !outputs.iter().any(|name| name.contains([';', '\n', '\r'])) {
            keys.push(("output-blob-names", outputs.join(";")));
        }
        (why.to_owned(), keys)
    }

    fn thresholds(&self) -> String {
        let thresholds = Thresholds::for_head(&self.detector.head);
        let mut text = format!("pre-cluster-threshold={}\n", thresholds.confidence);
        if let Cluster::Nms(iou) = cluster(&self.detector.head) {
            let _ = writeln!(text, "nms-iou-threshold={iou}\ntopk={}", thresholds.max_detections);
        }
        text
    }

    /// Its row in the table of files.
    pub(super) fn readme_row(&self) -> String {
        let what = match self.precision {
            Precision::Fp32 => "nvinfer, fp32".to_owned(),
            Precision::Fp16 => {
                "nvinfer, the fp16 graph with its own types (DeepStream 9; older ones run it in fp32)".into()
            }
            Precision::Int8 => "nvinfer, INT8 by `config/calibration.cache` (TensorRT up to 10)".into(),
        };
        format!("| `{}` | {what} |", self.path())
    }

    /// The command that makes its engine.
    pub(super) fn engine_command(&self) -> String {
        let ImageInput { tensor, width, height, .. } = &self.detector.input;
        let most = self.batch();
        let shape = |name: &str, batch: u32| {
            format!("--{name}Shapes={}", shell_word(&format!("{tensor}:{batch}x3x{height}x{width}")))
        };
        let precision = match self.precision {
            Precision::Fp32 => String::new(),
            Precision::Fp16 => " --stronglyTyped".to_owned(),
            Precision::Int8 => format!(" --int8 --calib={}", paths::CALIBRATION_CACHE),
        };
        format!(
            "       mkdir -p benchmarks/engines\n       trtexec --onnx={} {} {} {}{precision} \\\n           \
             --timingCacheFile=benchmarks/engines/timing.cache --skipInference --saveEngine={}",
            self.onnx,
            shape("min", 1),
            shape("opt", most),
            shape("max", most),
            self.engine()
        )
    }
}

/// The config that deepstream-app's configs name.
pub(super) fn path_of(name: &crate::PackageName) -> String {
    format!("config/config_infer_primary_{name}.txt")
}

/// A path of the package as seen from `config/`.
pub(super) fn from_config(path: &str) -> String {
    path.strip_prefix("config/").map_or_else(|| format!("../{path}"), str::to_owned)
}

/// The shortest text that reads back as the same `float`, which is what nvinfer computes with.
fn number(value: f64) -> String {
    (value as f32).to_string()
}

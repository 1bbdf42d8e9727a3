//! The one description of a detector: everything about it that is not in its graph.
//!
//! Only an architecture's exporter or the ONNX importer writes it; everything else (preprocessing, decoding, drawing,
//! deployment configs, the report) reads it. It is saved as `config/detector.json` and in the ONNX metadata, so a
//! field that changes its meaning needs a new [`Detector::SCHEMA`].

use serde::{Deserialize, Serialize};

use crate::{Error, Labels};

/// Largest side of an input, in pixels: beyond it a description is taken for damaged.
const LARGEST_SIDE: u32 = 16_384;

/// Everything about a detector that is not in its graph.
///
/// The fields are public because an importer fills them one by one; [`Detector::validate`] says whether they fit
/// together, and [`Detector::from_json`] accepts only what does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detector {
    /// Version of this description, [`Detector::SCHEMA`].
    pub schema: u32,
    /// The family, as `model_type` of `config.json` calls it: `rt_detr_v2`, `detr`, `yolo11` …
    pub architecture: String,
    /// Class names by id.
    pub labels: Labels,
    /// How an image becomes the input tensors.
    pub input: ImageInput,
    /// How the output tensors become boxes.
    pub head: Head,
}

/// How an image becomes the input tensor: `[batch, 3, height, width]`, always channels first.
///
/// Order: convert to RGB, resize, pad (letterbox), `(x * scale - mean) / std`, channel order, pad (shortest edge).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageInput {
    /// Name of the graph's image input.
    pub tensor: String,
    /// Width of the input tensor in pixels.
    pub width: u32,
    /// Height of the input tensor in pixels.
    pub height: u32,
    /// Which colour is channel 0.
    pub channels: ChannelOrder,
    /// How an image of any size is made to fit.
    pub resize: Resize,
    /// Interpolation of the resize.
    pub filter: Filter,
    /// Whether the filter widens with the reduction, as PIL and torchvision do (`OpenCV` does not).
    pub antialias: bool,
    /// Applied first to the bytes 0–255: 1/255, or 1 when the model wants 0–255.
    pub scale: f32,
    /// Subtracted after `scale`, in the tensor's channel order.
    pub mean: [f32; 3],
    /// Divided by after `mean`, in the tensor's channel order.
    pub std: [f32; 3],
    /// Element type of the input tensor.
    pub dtype: ElementType,
    /// The `pixel_mask` input of the DETR family, where the graph has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<PixelMask>,
    /// Name of an int64 input `[batch, 2]` that takes (width, height) of the original image, where the graph has one
    /// (`orig_target_sizes` of the RT-DETR and D-FINE repositories).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_size: Option<String>,
}

/// The int64 input `[batch, height, width]` that is 1 on the image and 0 on the padding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PixelMask {
    /// Name of the graph's mask input.
    pub tensor: String,
    /// Declared width: the input's, or 64 in older exports.
    pub width: u32,
    /// Declared height: the input's, or 64 in older exports.
    pub height: u32,
}

/// Which colour is channel 0 of the input tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelOrder {
    /// Red first.
    Rgb,
    /// Blue first.
    Bgr,
}

/// Element type of the input tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ElementType {
    /// 32-bit floats.
    #[serde(rename = "float32")]
    F32,
    /// 16-bit floats.
    #[serde(rename = "float16")]
    F16,
    /// Bytes 0–255: the graph itself normalises.
    #[serde(rename = "uint8")]
    U8,
}

/// How an image of any size is made to fit `width` × `height`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "policy", rename_all = "snake_case", deny_unknown_fields)]
pub enum Resize {
    /// Both sides set; the aspect ratio is not kept.
    Stretch,
    /// Ratio kept, the rest filled with grey before normalisation.
    Letterbox {
        /// Value of the padding, 0–255, in every channel (Ultralytics: 114).
        fill: u8,
        /// Image in the middle (Ultralytics), or in the top left corner.
        centred: bool,
        /// Whether small images are enlarged.
        upscale: bool,
    },
    /// Ratio kept by the shortest and longest side (Hugging Face DETR); padded right and bottom with 0 *after*
    /// normalisation. An image that would not fit `width` × `height` is reduced further.
    ShortestEdge {
        /// Wanted length of the shorter side.
        shortest: u32,
        /// Bound of the longer side.
        longest: u32,
        /// Both sides are rounded down to a multiple of this (YOLOS: 16).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        multiple_of: Option<u32>,
    },
}

/// Interpolation of a resize, by PIL's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// Nearest neighbour.
    Nearest,
    /// Area average.
    Box,
    /// Linear.
    Bilinear,
    /// Hamming window of a linear filter's support.
    Hamming,
    /// Cubic with a = −0.5.
    Bicubic,
    /// Lanczos of three lobes.
    Lanczos,
}

/// How the output tensors become boxes. `b` is the batch, `n` the rows, `C` the classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Head {
    /// DETR family: one row a query, class scores and a box. No suppression.
    Queries {
        /// Output of raw class scores, `[b, n, C]` (`C + 1` with a background column).
        logits: String,
        /// Output of boxes, `[b, n, 4]`.
        boxes: String,
        /// What the four numbers are.
        format: BoxFormat,
        /// From raw scores to probabilities.
        activation: Activation,
        /// Which pairs of query and class become detections.
        selection: Selection,
    },
    /// One row an anchor or cell, suppressed by us (Ultralytics without `nms`, YOLOv5).
    Dense {
        /// Output of rows: four box numbers, objectness where there is one, `C` class scores.
        output: String,
        /// Which axis is the rows'.
        layout: DenseLayout,
        /// Whether a fifth number multiplies the class scores.
        objectness: bool,
        /// What the four numbers are.
        format: BoxFormat,
        /// What is left to apply to objectness and scores ([`Activation::None`] when the graph did it).
        activation: Activation,
        /// Default IoU threshold of class-aware suppression; `None` for rows that need none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        iou: Option<f32>,
        /// Default confidence threshold.
        confidence: f32,
    },
    /// Suppressed in the graph, one output `[b, n, 6]`: four box numbers, score, class. Rows of score 0 are padding.
    EndToEnd {
        /// Output of rows.
        output: String,
        /// What the four numbers are.
        format: BoxFormat,
    },
    /// Suppressed in the graph, one output a quantity.
    EndToEndParts {
        /// Output `[b]` or `[b, 1]` of how many rows are used; `None` when all are (padding then has score 0, or a
        /// negative class).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<String>,
        /// Output of boxes, `[b, n, 4]`; `[b, n, 5]` with the score last when `scores` is `None` (`MMDetection`).
        boxes: String,
        /// Output of scores, `[b, n]`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scores: Option<String>,
        /// Output of class ids, `[b, n]`, of any number type.
        classes: String,
        /// What the four numbers are.
        format: BoxFormat,
    },
}

/// What the four numbers of a box are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoxFormat {
    /// Centre and size relative to the model's image, 0–1. With [`Resize::ShortestEdge`] relative to the image
    /// without its padding, as the Hugging Face post-processing takes them.
    CxcywhNormalized,
    /// Corners relative to the model's image, as above.
    XyxyNormalized,
    /// Centre and size in pixels of the input tensor.
    CxcywhPixels,
    /// Corners in pixels of the input tensor.
    XyxyPixels,
    /// Corners in pixels of the original image: the graph was told its size ([`ImageInput::image_size`]).
    XyxyOriginal,
}

/// From raw class scores to probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "function", rename_all = "snake_case", deny_unknown_fields)]
pub enum Activation {
    /// They are probabilities already.
    None,
    /// Each class by itself.
    Sigmoid,
    /// All classes of a row together.
    Softmax {
        /// Which column means "no object"; it is dropped after the softmax.
        background: Background,
    },
}

/// The column that means "no object".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Background {
    /// There is none.
    None,
    /// The last one.
    Last,
}

/// Which pairs of query and class become detections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case", deny_unknown_fields)]
pub enum Selection {
    /// The best `count` of all queries × classes: a query may give several detections.
    TopK {
        /// How many are kept.
        count: u32,
    },
    /// The best class of each query.
    PerQuery,
}

/// Which axis of a dense output is the rows'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DenseLayout {
    /// `[b, 4 + C, n]`: Ultralytics from v8 on.
    ChannelsFirst,
    /// `[b, n, 4 + C]`: YOLOv5, with objectness.
    RowsFirst,
}

impl Detector {
    /// The version of the description that this program writes and reads.
    pub const SCHEMA: u32 = 1;
    /// Key of the JSON text in an ONNX model's metadata.
    pub const METADATA_KEY: &str = "sightline.detector";

    /// A description of the current schema. Call [`Detector::validate`] when its parts come from a file.
    pub fn new(architecture: impl Into<String>, labels: Labels, input: ImageInput, head: Head) -> Self {
        Self { schema: Self::SCHEMA, architecture: architecture.into(), labels, input, head }
    }

    /// The text of `detector.json`: pretty JSON, fields in declared order, a newline at the end.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a detector has only string keys");
        text.push('\n');
        text
    }

    /// Reads and validates `detector.json`.
    ///
    /// # Errors
    /// [`Error::Schema`] for another version, [`Error::Json`] for text of another form, [`Error::Field`] for values
    /// that do not fit together.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        let Version { schema } = serde_json::from_str(text)?;
        if schema != Self::SCHEMA {
            return Err(Error::Schema { found: schema, expected: Self::SCHEMA });
        }
        let detector: Self = serde_json::from_str(text)?;
        detector.validate()?;
        Ok(detector)
    }

    /// Whether the parts fit together.
    ///
    /// # Errors
    /// [`Error::Field`] names the first field that does not; [`Error::Schema`] for another version.
    pub fn validate(&self) -> Result<(), Error> {
        if self.schema != Self::SCHEMA {
            return Err(Error::Schema { found: self.schema, expected: Self::SCHEMA });
        }
        self.input.validate()?;
        self.head.validate()?;
        let told_size = self.input.image_size.is_some();
        if self.head.format() == BoxFormat::XyxyOriginal && !told_size {
            return Err(refused(
                "head.format",
                "`xyxy_original`",
                "an `input.image_size` that tells the graph",
            ));
        }
        Ok(())
    }
}

impl ImageInput {
    fn validate(&self) -> Result<(), Error> {
        named("input.tensor", &self.tensor)?;
        if let Some(name) = &self.image_size {
            named("input.image_size", name)?;
        }
        side("input.width", self.width)?;
        side("input.height", self.height)?;
        if let Some(mask) = &self.mask {
            named("input.mask.tensor", &mask.tensor)?;
            side("input.mask.width", mask.width)?;
            side("input.mask.height", mask.height)?;
        }
        if !(self.scale.is_finite() && self.scale > 0.0) {
            return Err(refused("input.scale", self.scale, "a positive number"));
        }
        if !self.mean.iter().all(|mean| mean.is_finite()) {
            return Err(refused("input.mean", format!("{:?}", self.mean), "three finite numbers"));
        }
        if !self.std.iter().all(|std| std.is_finite() && *std > 0.0) {
            return Err(refused("input.std", format!("{:?}", self.std), "three positive numbers"));
        }
        if self.dtype == ElementType::U8 && !self.is_identity() {
            return Err(refused("input.dtype", "`uint8`", "scale 1, mean 0 and std 1 with it"));
        }
        self.resize.validate()
    }

    /// Whether the tensor holds the bytes 0–255 as they are.
    #[expect(clippy::float_cmp, reason = "only the exact identity leaves the bytes as they are")]
    pub fn is_identity(&self) -> bool {
        self.scale == 1.0 && self.mean == [0.0; 3] && self.std == [1.0; 3]
    }
}

impl Resize {
    fn validate(self) -> Result<(), Error> {
        let Self::ShortestEdge { shortest, longest, multiple_of } = self else {
            return Ok(());
        };
        side("input.resize.shortest", shortest)?;
        side("input.resize.longest", longest)?;
        if longest < shortest {
            return Err(refused("input.resize.longest", longest, format!("at least {shortest}")));
        }
        match multiple_of {
            Some(step) if step == 0 || step > shortest => {
                Err(refused("input.resize.multiple_of", step, format!("1 to {shortest}")))
            }
            _ => Ok(()),
        }
    }
}

impl Filter {
    /// The filter of a `resample` code in `preprocessor_config.json` (PIL's numbering), `None` for an unknown code.
    pub fn from_pil(code: u32) -> Option<Self> {
        [Self::Nearest, Self::Lanczos, Self::Bilinear, Self::Bicubic, Self::Box, Self::Hamming]
            .get(code as usize)
            .copied()
    }
}

impl Head {
    /// What the four numbers of a box are.
    pub fn format(&self) -> BoxFormat {
        match self {
            Self::Queries { format, .. }
            | Self::Dense { format, .. }
            | Self::EndToEnd { format, .. }
            | Self::EndToEndParts { format, .. } => *format,
        }
    }

    /// The outputs that decoding reads, in the order of the fields.
    pub fn outputs(&self) -> Vec<&str> {
        match self {
            Self::Queries { logits, boxes, .. } => vec![logits, boxes],
            Self::Dense { output, .. } | Self::EndToEnd { output, .. } => vec![output],
            Self::EndToEndParts { count, boxes, scores, classes, .. } => count
                .iter()
                .chain([boxes])
                .chain(scores.iter())
                .chain([classes])
                .map(String::as_str)
                .collect(),
        }
    }

    fn validate(&self) -> Result<(), Error> {
        let outputs = self.outputs();
        for (index, output) in outputs.iter().enumerate() {
            named("head", output)?;
            if outputs[..index].contains(output) {
                return Err(refused("head", format!("`{output}` twice"), "a different output for each part"));
            }
        }
        match self {
            Self::Queries { selection: Selection::TopK { count: 0 }, .. } => {
                Err(refused("head.selection.count", 0, "at least 1"))
            }
            Self::Queries {
                selection: Selection::TopK { .. },
                activation: Activation::Softmax { .. },
                ..
            } => Err(refused("head.selection", "`top_k` with a softmax", "`per_query`")),
            Self::Dense { activation: Activation::Softmax { .. }, .. } => {
                Err(refused("head.activation", "`softmax`", "`none` or `sigmoid` for a dense head"))
            }
            Self::Dense { iou, confidence, .. } => {
                fraction("head.iou", iou.unwrap_or(0.0))?;
                fraction("head.confidence", *confidence)
            }
            _ => Ok(()),
        }
    }
}

fn refused(field: &str, value: impl ToString, expected: impl ToString) -> Error {
    Error::Field { field: field.to_owned(), value: value.to_string(), expected: expected.to_string() }
}

fn named(field: &str, name: &str) -> Result<(), Error> {
    if name.is_empty() { Err(refused(field, "empty", "the name of a tensor")) } else { Ok(()) }
}

fn side(field: &str, side: u32) -> Result<(), Error> {
    if (1..=LARGEST_SIDE).contains(&side) {
        return Ok(());
    }
    Err(refused(field, side, format!("1 to {LARGEST_SIDE} pixels")))
}

fn fraction(field: &str, value: f32) -> Result<(), Error> {
    if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(refused(field, value, "a number from 0 to 1")) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn detector() -> Detector {
        Detector::new(
            "rt_detr_v2",
            Labels::from_lines("circle\nsquare\n").unwrap(),
            ImageInput {
                tensor: "pixel_values".into(),
                width: 320,
                height: 320,
                channels: ChannelOrder::Rgb,
                resize: Resize::Stretch,
                filter: Filter::Bilinear,
                antialias: true,
                scale: 1.0 / 255.0,
                mean: [0.0; 3],
                std: [1.0; 3],
                dtype: ElementType::F32,
                mask: None,
                image_size: None,
            },
            Head::Queries {
                logits: "logits".into(),
                boxes: "pred_boxes".into(),
                format: BoxFormat::CxcywhNormalized,
                activation: Activation::Sigmoid,
                selection: Selection::TopK { count: 100 },
            },
        )
    }

    #[test]
    fn json_is_stable() {
        let expected = r#"{"schema":1,"architecture":"rt_detr_v2","labels":{"0":"circle","1":"square"},"input":{"tensor":"pixel_values","width":320,"height":320,"channels":"rgb","resize":{"policy":"stretch"},"filter":"bilinear","antialias":true,"scale":0.003921569,"mean":[0.0,0.0,0.0],"std":[1.0,1.0,1.0],"dtype":"float32"},"head":{"kind":"queries","logits":"logits","boxes":"pred_boxes","format":"cxcywh_normalized","activation":{"function":"sigmoid"},"selection":{"rule":"top_k","count":100}}}"#;
        assert_eq!(serde_json::to_string(&detector()).unwrap(), expected);
    }

    #[test]
    fn json_reads_back() {
        let mut letterbox = detector();
        letterbox.input.resize = Resize::Letterbox { fill: 114, centred: true, upscale: true };
        letterbox.head = Head::Dense {
            output: "output0".into(),
            layout: DenseLayout::ChannelsFirst,
            objectness: false,
            format: BoxFormat::CxcywhPixels,
            activation: Activation::None,
            iou: Some(0.7),
            confidence: 0.25,
        };
        let mut shortest = detector();
        shortest.input.resize = Resize::ShortestEdge { shortest: 800, longest: 1333, multiple_of: Some(16) };
        shortest.input.mask = Some(PixelMask { tensor: "pixel_mask".into(), width: 64, height: 64 });
        shortest.head = Head::Queries {
            logits: "logits".into(),
            boxes: "pred_boxes".into(),
            format: BoxFormat::CxcywhNormalized,
            activation: Activation::Softmax { background: Background::Last },
            selection: Selection::PerQuery,
        };
        let mut parts = detector();
        parts.input.image_size = Some("orig_target_sizes".into());
        parts.head = Head::EndToEndParts {
            count: None,
            boxes: "boxes".into(),
            scores: Some("scores".into()),
            classes: "labels".into(),
            format: BoxFormat::XyxyOriginal,
        };
        for detector in [detector(), letterbox, shortest, parts] {
            assert_eq!(Detector::from_json(&detector.to_json()).unwrap(), detector);
        }
    }

    #[test]
    fn parts_that_do_not_fit_are_named() {
        type Change = fn(&mut Detector);
        let cases: [(&str, Change); 9] = [
            ("input.width", |d| d.input.width = 0),
            ("input.height", |d| d.input.height = 1 << 20),
            ("input.scale", |d| d.input.scale = f32::NAN),
            ("input.std", |d| d.input.std[1] = 0.0),
            ("input.mean", |d| d.input.mean[1] = f32::INFINITY),
            ("input.dtype", |d| d.input.dtype = ElementType::U8),
            ("input.tensor", |d| d.input.tensor.clear()),
            ("input.resize.longest", |d| {
                d.input.resize = Resize::ShortestEdge { shortest: 800, longest: 640, multiple_of: None };
            }),
            ("head.format", |d| {
                d.head = Head::EndToEnd { output: "dets".into(), format: BoxFormat::XyxyOriginal };
            }),
        ];
        for (expected, change) in cases {
            let mut detector = detector();
            change(&mut detector);
            match detector.validate() {
                Err(Error::Field { field, .. }) => assert_eq!(field, expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }

    #[test]
    fn other_schemas_and_fields_are_refused() {
        let text = detector().to_json();
        let newer = text.replace("\"schema\": 1", "\"schema\": 9");
        assert!(matches!(Detector::from_json(&newer), Err(Error::Schema { found: 9, expected: 1 })));
        let misspelt = text.replace("\"antialias\"", "\"antialiased\"");
        assert!(matches!(Detector::from_json(&misspelt), Err(Error::Json(_))));
    }
}

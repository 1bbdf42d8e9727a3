//! The one description of a detector: everything about it that is not in its graph.
//!
//! Only an architecture's exporter or the ONNX importer writes it; everything else (preprocessing, decoding, drawing,
//! deployment configs, the report) reads it. It is saved as `config/detector.json` and in the ONNX metadata, so a
//! field that changes its meaning needs a new [`Detector::SCHEMA`].

use serde::{Deserialize, Serialize};

use crate::head::Head;
use crate::input::ImageInput;
use crate::{BoxFormat, Error, Labels};

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
    ///
    /// # Panics
    /// Never: all keys are strings or numbers, and numbers that JSON lacks are written as `null`.
    pub fn to_json(&self) -> String {
        let mut text =
            serde_json::to_string_pretty(self).expect("a detector has only string and number keys");
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
        let knows_size = self.input.image_size.is_some() || self.input.frames.is_some();
        let original = self.head.format() == BoxFormat::XyxyOriginal;
        if original && !knows_size {
            return Err(refused(
                "head.format",
                "`xyxy_original`",
                "an `input.image_size` that tells the graph",
            ));
        }
        if self.input.frames.is_some() && !original {
            return Err(refused(
                "head.format",
                "relative to the input",
                "`xyxy_original` with `input.frames`",
            ));
        }
        Ok(())
    }
}
pub(crate) fn refused(field: &str, value: impl std::fmt::Display, expected: impl std::fmt::Display) -> Error {
    Error::Field { field: field.to_owned(), value: value.to_string(), expected: expected.to_string() }
}

pub(crate) fn named(field: &str, name: &str) -> Result<(), Error> {
    if name.is_empty() { Err(refused(field, "empty", "the name of a tensor")) } else { Ok(()) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        Activation, Background, ChannelOrder, DenseLayout, ElementType, Filter, Frames, Matrix, PixelMask,
        Resize, Selection,
    };

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
                frames: None,
            },
            Head::queries(Activation::Sigmoid, Selection::TopK { count: 100 }),
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
        shortest.head =
            Head::queries(Activation::Softmax { background: Background::Last }, Selection::PerQuery);
        let mut parts = detector();
        parts.input.image_size = Some("orig_target_sizes".into());
        parts.head = Head::EndToEndParts {
            count: None,
            boxes: "boxes".into(),
            scores: Some("scores".into()),
            classes: "labels".into(),
            format: BoxFormat::XyxyOriginal,
            confidence: 0.25,
            clip: true,
        };
        let mut framed = parts.clone();
        framed.input = ImageInput {
            tensor: "frames".into(),
            image_size: None,
            frames: Some(Frames::nv12(Matrix::Bt709)),
            ..framed.input
        };
        for detector in [detector(), letterbox, shortest, parts, framed] {
            assert_eq!(Detector::from_json(&detector.to_json()).unwrap(), detector);
        }
    }

    #[test]
    fn parts_that_do_not_fit_are_named() {
        type Change = fn(&mut Detector);
        let cases: [(&str, Change); 12] = [
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
            ("head.format", |d| d.input.frames = Some(Frames::Rgb)),
            ("input.frames", |d| {
                d.input.frames = Some(Frames::Rgb);
                d.input.image_size = Some("size".into());
            }),
            ("input.frames.uv", |d| {
                d.input.frames = Some(Frames::Nv12 { uv: d.input.tensor.clone(), matrix: Matrix::Bt601 });
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

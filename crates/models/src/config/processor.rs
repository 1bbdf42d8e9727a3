//! `preprocessor_config.json`: how the source prepares an image.
//!
//! A key that the file leaves out has the default of the processor's *class*, not of all classes: RT-DETR does not
//! normalise, DETR does. The class is named by `image_processor_type` (older files: `feature_extractor_type`).

use detect::{Filter, Resize};
use serde_json::{Map, Value};

use super::read_object;
use crate::{Error, Files};

const FILE: &str = "preprocessor_config.json";
const COMBINED: &str = "processor_config.json";

const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
const CLIP: ([f32; 3], [f32; 3]) =
    ([0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_55, 0.261_302_6, 0.275_777_1]);

/// What the classes of image processors do when the file does not say.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "the switches of the original's classes")]
pub(crate) struct Family {
    /// The class, without `ImageProcessor` or `FeatureExtractor`.
    class: &'static str,
    /// The families of models that use it.
    model_types: &'static [&'static str],
    size: SizeRule,
    filter: Filter,
    antialias: bool,
    normalize: bool,
    statistics: ([f32; 3], [f32; 3]),
    pad: bool,
    multiple_of: Option<u32>,
    /// Whether a single number means both sides, and not the shorter one.
    square: bool,
    /// Whether padding makes a square of the image, before it is resized.
    pads_to_square: bool,
}

const DETR: Family = Family {
    class: "Detr",
    model_types: &["detr", "omdet_turbo", "table_transformer"],
    size: SizeRule::Edges { shortest: 800, longest: Some(1333) },
    filter: Filter::Bilinear,
    antialias: true,
    normalize: true,
    statistics: IMAGENET,
    pad: true,
    multiple_of: None,
    square: false,
    pads_to_square: false,
};

/// Pages of documents: as `OpenCV` resizes them.
const PP_DOC_LAYOUT: Family = Family {
    class: "PPDocLayoutV2",
    model_types: &["pp_doclayout_v2"],
    size: SizeRule::Exact { height: 800, width: 800 },
    filter: Filter::Bicubic,
    antialias: false,
    statistics: ([0.0; 3], [1.0; 3]),
    pad: false,
    ..DETR
};

static FAMILIES: &[Family] = &[
    DETR,
    Family { class: "ConditionalDetr", model_types: &["conditional_detr", "dab_detr"], ..DETR },
    Family { class: "DeformableDetr", model_types: &["deformable_detr", "lw_detr"], ..DETR },
    Family { class: "GroundingDino", model_types: &["grounding_dino", "mm_grounding_dino"], ..DETR },
    Family { class: "RfDetr", model_types: &["rf_detr"], antialias: false, ..DETR },
    Family { class: "Yolos", model_types: &["yolos"], multiple_of: Some(16), ..DETR },
    Family {
        class: "RTDetr",
        model_types: &["rt_detr", "rt_detr_v2", "d_fine", "deimv2"],
        size: SizeRule::Exact { height: 640, width: 640 },
        normalize: false,
        pad: false,
        ..DETR
    },
    PP_DOC_LAYOUT,
    Family { class: "PPDocLayoutV3", model_types: &["pp_doclayout_v3"], ..PP_DOC_LAYOUT },
    Family { class: "PPDocLayoutV4", model_types: &["pp_doclayout_v4"], ..PP_DOC_LAYOUT },
    Family {
        class: "OwlViT",
        model_types: &["owlvit"],
        size: SizeRule::Exact { height: 768, width: 768 },
        filter: Filter::Bicubic,
        statistics: CLIP,
        pad: false,
        square: true,
        ..DETR
    },
    Family {
        class: "Owlv2",
        model_types: &["owlv2"],
        size: SizeRule::Exact { height: 960, width: 960 },
        statistics: CLIP,
        square: true,
        pads_to_square: true,
        ..DETR
    },
];

impl Family {
    fn by_class(name: &str) -> Option<Self> {
        let stem =
            ["Fast", "Pil"].iter().fold(name, |name, suffix| name.strip_suffix(suffix).unwrap_or(name));
        let stem = stem.strip_suffix("ImageProcessor").or_else(|| stem.strip_suffix("FeatureExtractor"))?;
        FAMILIES.iter().find(|family| family.class == stem).copied()
    }

    /// The family whose processor a model of this type uses.
    pub(crate) fn by_model_type(model_type: &str) -> Option<Self> {
        FAMILIES.iter().find(|family| family.model_types.contains(&model_type)).copied()
    }
}

/// The wanted size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SizeRule {
    /// Both sides; the ratio is not kept.
    Exact { height: u32, width: u32 },
    /// By the edges; the ratio is kept.
    Edges { shortest: u32, longest: Option<u32> },
    /// The largest that fits inside; the ratio is kept.
    Inside { height: u32, width: u32 },
}

/// How the source prepares an image, defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Processor {
    /// The file that says so, or the class default where there is none.
    pub(crate) file: &'static str,
    pub(crate) size: SizeRule,
    pub(crate) filter: Filter,
    pub(crate) antialias: bool,
    pub(crate) scale: f32,
    pub(crate) mean: [f32; 3],
    pub(crate) std: [f32; 3],
    pub(crate) pads: bool,
    /// Whether padding makes a square of the image, before it is resized.
    pub(crate) pads_to_square: bool,
    /// Height and width that every image is padded to.
    pub(crate) pad_size: Option<(u32, u32)>,
    pub(crate) multiple_of: Option<u32>,
    pub(crate) warnings: Vec<String>,
}

impl Processor {
    /// Reads the processor of a source; `None` when it has no such file.
    pub(crate) fn find(files: &dyn Files, model_type: Option<&str>) -> Result<Option<Self>, Error> {
        if let Some(raw) = read_object(files, FILE)? {
            return Self::from_json(FILE, &raw, model_type).map(Some);
        }
        let Some(raw) = read_object(files, COMBINED)? else { return Ok(None) };
        match raw.get("image_processor") {
            Some(Value::Object(raw)) => Self::from_json(COMBINED, raw, model_type).map(Some),
            _ => Ok(None),
        }
    }

    /// What a model type's processor does when no file says anything.
    pub(crate) fn default_for(family: Family) -> Result<Self, Error> {
        let mut processor = Self::of(FILE, &Map::new(), family)?;
        processor.warnings.push(format!(
            "the source has no `{FILE}`: the defaults of `{}ImageProcessor` are taken",
            family.class
        ));
        Ok(processor)
    }

    fn from_json(
        file: &'static str,
        raw: &Map<String, Value>,
        model_type: Option<&str>,
    ) -> Result<Self, Error> {
        let class = ["image_processor_type", "feature_extractor_type"]
            .iter()
            .find_map(|key| raw.get(*key).and_then(Value::as_str));
        let family = class
            .and_then(Family::by_class)
            .or_else(|| model_type.and_then(Family::by_model_type))
            .ok_or_else(|| {
                let known: Vec<String> =
                    FAMILIES.iter().map(|family| format!("`{}ImageProcessor`", family.class)).collect();
                let value = class.map_or_else(|| "absent".into(), |class| format!("`{class}`"));
                Error::unsupported(
                    file,
                    "image_processor_type",
                    value,
                    format!("one of {}", known.join(", ")),
                )
            })?;
        Self::of(file, raw, family)
    }

    fn of(file: &'static str, raw: &Map<String, Value>, family: Family) -> Result<Self, Error> {
        let fields = Fields { file, raw };
        let mut warnings = Vec::new();
        let mut size = fields.size(family)?.unwrap_or(family.size);
        if !fields.flag("do_resize", true)? {
            warnings.push(format!("`do_resize` is false in `{file}`: images are resized all the same"));
            if let SizeRule::Edges { shortest, longest } = size {
                let side = longest.unwrap_or(shortest);
                size = SizeRule::Exact { height: side, width: side };
            }
        }
        if fields.flag("do_center_crop", false)? && !fields.crops_nothing(size)? {
            return Err(Error::unsupported(file, "do_center_crop", "true", "false for a detector"));
        }
        if family.pads_to_square {
            warnings.push(
                "`Owlv2ImageProcessor` blurs an image that it reduces; here the filter widens instead, which changes \
                 pixels by about one level of 255"
                    .into(),
            );
        }
        let filter = match fields.number("resample")? {
            None => family.filter,
            Some(code) => known_filter(code)
                .ok_or_else(|| Error::unsupported(file, "resample", code, "a filter code from 0 to 5"))?,
        };
        // Early files of OWL-ViT call it so.
        let rescale = if family.square && raw.contains_key("rescale") { "rescale" } else { "do_rescale" };
        let rescales = fields.flag(rescale, true)?;
        let factor = fields.number("rescale_factor")?.map_or(1.0 / 255.0, |factor| factor as f32);
        let normalizes = fields.flag("do_normalize", family.normalize)?;
        let (mean, std) = if normalizes {
            let (mean, std) = family.statistics;
            (fields.triple("image_mean")?.unwrap_or(mean), fields.triple("image_std")?.unwrap_or(std))
        } else {
            ([0.0; 3], [1.0; 3])
        };
        let pads = match raw.get("pad_and_return_pixel_mask") {
            Some(Value::Bool(pads)) if !raw.contains_key("do_pad") => *pads,
            _ => fields.flag("do_pad", family.pad)?,
        };
        let pad_size = fields.sides("pad_size")?.filter(|_| pads);
        if let (Some(pad), SizeRule::Exact { height, width }) = (pad_size, size)
            && pad != (height, width)
        {
            let value = format!("{}×{}", pad.0, pad.1);
            return Err(Error::unsupported(file, "pad_size", value, format!("absent, or {height}×{width}")));
        }
        Ok(Self {
            file,
            size,
            filter,
            antialias: family.antialias,
            scale: if rescales { factor } else { 1.0 },
            mean,
            std,
            pads,
            pads_to_square: pads && family.pads_to_square,
            pad_size,
            multiple_of: family.multiple_of,
            warnings,
        })
    }

    #[expect(clippy::float_cmp, reason = "only the exact zero stays zero")]
    /// The policy that `Detector` has for this rule, on a canvas of this size.
    pub(crate) fn resize(&self) -> Option<Resize> {
        match self.size {
            // The padding is black, and normalised with the image.
            SizeRule::Exact { height, width } if self.pads_to_square => {
                (height == width).then_some(Resize::Letterbox { fill: 0, centred: false, upscale: true })
            }
            SizeRule::Exact { .. } => Some(Resize::Stretch),
            SizeRule::Edges { shortest, longest } => Some(Resize::ShortestEdge {
                shortest,
                longest: longest.unwrap_or(shortest.saturating_mul(2)),
                multiple_of: self.multiple_of,
            }),
            // Padding comes after the normalisation; before it, it is the same only when zero stays zero.
            SizeRule::Inside { .. } if self.mean == [0.0; 3] => {
                Some(Resize::Letterbox { fill: 0, centred: false, upscale: true })
            }
            SizeRule::Inside { .. } => None,
        }
    }

    /// The size of the canvas, `(height, width)`, that holds any image.
    pub(crate) fn canvas(&self) -> (u32, u32) {
        match self.size {
            SizeRule::Exact { height, width } | SizeRule::Inside { height, width } => (height, width),
            SizeRule::Edges { shortest, longest } => {
                let side = longest.unwrap_or(shortest.saturating_mul(2));
                self.pad_size.unwrap_or((side, side))
            }
        }
    }
}

#[expect(clippy::float_cmp, reason = "codes are small integers")]
fn known_filter(code: f64) -> Option<Filter> {
    (0..=5_u32).find(|known| f64::from(*known) == code).and_then(Filter::from_pil)
}

/// The fields of one file, read strictly.
struct Fields<'a> {
    file: &'static str,
    raw: &'a Map<String, Value>,
}

impl Fields<'_> {
    fn value(&self, key: &str) -> Option<&Value> {
        self.raw.get(key).filter(|value| !value.is_null())
    }

    fn refuse<T>(&self, key: &str, value: &Value, expected: &str) -> Result<T, Error> {
        Err(Error::unsupported(self.file, key, value, expected))
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, Error> {
        match self.value(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => self.refuse(key, other, "true or false"),
        }
    }

    fn number(&self, key: &str) -> Result<Option<f64>, Error> {
        match self.value(key) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) if number.is_finite() => Ok(Some(number)),
                _ => self.refuse(key, value, "a number"),
            },
        }
    }

    /// Three numbers, or one for all three.
    fn triple(&self, key: &str) -> Result<Option<[f32; 3]>, Error> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let numbers: Option<Vec<f32>> = match value {
            Value::Array(list) => list.iter().map(|number| Some(number.as_f64()? as f32)).collect(),
            other => other.as_f64().map(|number| vec![number as f32; 3]),
        };
        match numbers.and_then(|numbers| <[f32; 3]>::try_from(numbers).ok()) {
            Some(triple) => Ok(Some(triple)),
            None => self.refuse(key, value, "three numbers"),
        }
    }

    fn side(value: &Value) -> Option<u32> {
        let side =
            value.as_u64().or_else(|| value.as_f64().filter(|side| side.fract() == 0.0).map(|s| s as u64));
        side.and_then(|side| u32::try_from(side).ok()).filter(|side| (1..=16_384).contains(side))
    }

    fn sides(&self, key: &str) -> Result<Option<(u32, u32)>, Error> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match (value.get("height").and_then(Self::side), value.get("width").and_then(Self::side)) {
            (Some(height), Some(width)) => Ok(Some((height, width))),
            _ => self.refuse(key, value, "`height` and `width` in pixels"),
        }
    }

    /// Whether the crop is as large as the resized image.
    fn crops_nothing(&self, size: SizeRule) -> Result<bool, Error> {
        let crop = match self.value("crop_size") {
            Some(Value::Number(_)) => self.value("crop_size").and_then(Self::side).map(|side| (side, side)),
            _ => self.sides("crop_size")?,
        };
        Ok(matches!(size, SizeRule::Exact { height, width } if crop == Some((height, width))))
    }

    fn size(&self, family: Family) -> Result<Option<SizeRule>, Error> {
        let family_longest = match family.size {
            SizeRule::Edges { longest, .. } => longest,
            _ => None,
        };
        let Some(value) = self.value("size") else { return Ok(None) };
        let part = |key: &str| value.get(key).and_then(Self::side);
        let older_longest = || self.value("max_size").and_then(Self::side);
        let rule = match value {
            Value::Object(map) if map.contains_key("height") || map.contains_key("width") => {
                part("height").zip(part("width")).map(|(height, width)| SizeRule::Exact { height, width })
            }
            Value::Object(map) if map.contains_key("shortest_edge") => {
                part("shortest_edge").map(|shortest| {
                    let longest = part("longest_edge").or_else(older_longest);
                    SizeRule::Edges { shortest, longest }
                })
            }
            Value::Object(map) if map.contains_key("max_height") => part("max_height")
                .zip(part("max_width"))
                .map(|(height, width)| SizeRule::Inside { height, width }),
            // Some processors of table detectors name the longest edge only.
            Value::Object(map) if map.contains_key("longest_edge") => part("longest_edge")
                .map(|longest| SizeRule::Edges { shortest: longest, longest: Some(longest) }),
            Value::Number(_) if family.square => {
                Self::side(value).map(|side| SizeRule::Exact { height: side, width: side })
            }
            Value::Number(_) => Self::side(value).map(|shortest| {
                // The library fills in its own bound beside a bare number.
                let longest =
                    older_longest().or_else(|| family_longest.filter(|longest| *longest >= shortest));
                SizeRule::Edges { shortest, longest }
            }),
            Value::Array(list) => match list.as_slice() {
                [height, width] => Self::side(height)
                    .zip(Self::side(width))
                    .map(|(height, width)| SizeRule::Exact { height, width }),
                _ => None,
            },
            _ => None,
        };
        match rule {
            Some(SizeRule::Edges { shortest, longest: Some(longest) }) if longest < shortest => {
                self.refuse("size", value, "`longest_edge` at least `shortest_edge`")
            }
            Some(rule) => Ok(Some(rule)),
            None => self.refuse(
                "size",
                value,
                "`height` and `width`, `shortest_edge` and `longest_edge`, or `max_height` and `max_width`, \
                 each from 1 to 16384",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryFiles;

    fn processor(text: &str, model_type: Option<&str>) -> Result<Processor, Error> {
        let files = MemoryFiles::new().with(FILE, text.as_bytes().to_vec());
        Processor::find(&files, model_type).map(|found| found.expect("the file is there"))
    }

    #[test]
    fn absent_keys_have_the_defaults_of_the_class() {
        let rt_detr = processor(r#"{"image_processor_type": "RTDetrImageProcessorFast"}"#, None).unwrap();
        assert_eq!(rt_detr.size, SizeRule::Exact { height: 640, width: 640 });
        assert_eq!((rt_detr.mean, rt_detr.std, rt_detr.scale), ([0.0; 3], [1.0; 3], 1.0 / 255.0));
        let detr = processor(r#"{"feature_extractor_type": "DetrFeatureExtractor"}"#, None).unwrap();
        assert_eq!(detr.size, SizeRule::Edges { shortest: 800, longest: Some(1333) });
        assert_eq!((detr.mean, detr.pads), (IMAGENET.0, true));
        let yolos = processor("{}", Some("yolos")).unwrap();
        assert_eq!(yolos.multiple_of, Some(16));
        assert!(!processor("{}", Some("rf_detr")).unwrap().antialias);
        let page = processor(r#"{"image_processor_type": "PPDocLayoutV3ImageProcessor"}"#, None).unwrap();
        assert_eq!(page.size, SizeRule::Exact { height: 800, width: 800 });
        assert_eq!((page.filter, page.antialias, page.pads), (Filter::Bicubic, false, false));
        assert_eq!((page.mean, page.std), ([0.0; 3], [1.0; 3]));
        assert!(matches!(processor("{}", None), Err(Error::Unsupported { .. })));
    }

    #[test]
    fn sizes_are_read_in_every_form() {
        let edges = |shortest, longest| SizeRule::Edges { shortest, longest };
        let cases = [
            (r#"{"size": {"height": 320, "width": 480}}"#, SizeRule::Exact { height: 320, width: 480 }),
            (r#"{"size": {"shortest_edge": 600, "longest_edge": 1000}}"#, edges(600, Some(1000))),
            (r#"{"size": {"shortest_edge": 600}}"#, edges(600, None)),
            (r#"{"size": 512, "max_size": 900}"#, edges(512, Some(900))),
            (r#"{"size": 512}"#, edges(512, Some(1333))),
            (r#"{"size": {"longest_edge": 800}}"#, edges(800, Some(800))),
            (
                r#"{"size": {"max_height": 480, "max_width": 640}}"#,
                SizeRule::Inside { height: 480, width: 640 },
            ),
            (r#"{"size": [320, 480]}"#, SizeRule::Exact { height: 320, width: 480 }),
        ];
        for (text, expected) in cases {
            assert_eq!(processor(text, Some("detr")).unwrap().size, expected, "{text}");
        }
    }

    #[test]
    fn flags_switch_each_step() {
        let on = r#"{"do_normalize": true, "image_mean": 0.5, "rescale_factor": 0.5, "resample": 3}"#;
        let on = processor(on, Some("rt_detr")).unwrap();
        assert_eq!((on.mean, on.std, on.scale), ([0.5; 3], IMAGENET.1, 0.5));
        assert_eq!(on.filter, Filter::Bicubic);
        let off = processor(r#"{"do_rescale": false, "do_normalize": false}"#, Some("detr")).unwrap();
        assert_eq!((off.mean, off.std, off.scale), ([0.0; 3], [1.0; 3], 1.0));
    }

    #[test]
    fn squares_of_owl_are_padded_first() {
        let square = SizeRule::Exact { height: 768, width: 768 };
        let owl = |text| processor(text, Some("owlvit")).unwrap();
        let early = owl(r#"{"size": 768, "crop_size": 768, "do_center_crop": true, "rescale": false}"#);
        assert_eq!((early.size, early.scale, early.filter), (square, 1.0, Filter::Bicubic));
        assert_eq!(early.resize(), Some(Resize::Stretch));
        let crops = r#"{"size": 768, "crop_size": {"height": 700, "width": 768}, "do_center_crop": true}"#;
        assert!(processor(crops, Some("owlvit")).is_err());
        let second = |text| processor(text, Some("owlv2")).unwrap().resize();
        assert_eq!(second("{}"), Some(Resize::Letterbox { fill: 0, centred: false, upscale: true }));
        assert_eq!(second(r#"{"do_pad": false}"#), Some(Resize::Stretch));
        assert_eq!(second(r#"{"size": {"height": 960, "width": 640}}"#), None);
    }

    #[test]
    fn values_that_cannot_be_honoured_are_refused() {
        let cases = [
            r#"{"size": {"height": 640}}"#,
            r#"{"size": {"height": 0, "width": 640}}"#,
            r#"{"size": {"height": 1000000000, "width": 640}}"#,
            r#"{"size": {"shortest_edge": 800, "longest_edge": 600}}"#,
            r#"{"size": "large"}"#,
            r#"{"resample": 9}"#,
            r#"{"do_normalize": "yes"}"#,
            r#"{"do_normalize": true, "image_mean": [0.5, 0.5]}"#,
            r#"{"do_pad": true, "pad_size": {"height": 800, "width": 800}}"#,
            r#"{"do_center_crop": true}"#,
        ];
        for text in cases {
            assert!(matches!(processor(text, Some("rt_detr")), Err(Error::Unsupported { .. })), "{text}");
        }
    }

    #[test]
    fn the_combined_file_is_read_too() {
        let text = r#"{"image_processor": {"image_processor_type": "RTDetrImageProcessor", "size": {"height": 64, "width": 96}}}"#;
        let files = MemoryFiles::new().with(COMBINED, text.as_bytes().to_vec());
        let found = Processor::find(&files, None).unwrap().unwrap();
        assert_eq!(found.canvas(), (64, 96));
    }
}

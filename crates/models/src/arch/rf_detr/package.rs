//! Checkpoints of the package `rfdetr` (<https://github.com/roboflow/rf-detr>, Apache-2.0): `.pth` files that hold the
//! weights and, beside them, what the network was built with (`args`, `model_config`) instead of a `config.json`.
//!
//! [`described`] writes the `config.json` that such a file stands for: what the tensors say by their shapes first, then
//! what was written down, then the defaults of the package's variants. The same keys are read from a `config.json` that
//! lies beside converted weights.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::config::{RawBackbone, RfDetrConfig};
use super::dinov2::WindowOrder;
use super::projector::Projector;
use crate::arch::lw_detr::config::{Sides, function, refuse};
use crate::arch::lw_detr::decoder::Decoder;
use crate::checkpoint::pickle::{Document, Node, is_pickle};
use crate::config::{CONFIG, Config, Limits};
use crate::files::Overlay;
use crate::layers::BoxForm;
use crate::{Checkpoint, Error, Files};

/// The key that only the package's configurations have.
const MARK: &str = "encoder";
const PROCESSOR: &str = "preprocessor_config.json";
const ENCODER: &str = "backbone.0.encoder.encoder.";
/// Where a file says what the network was built with, the most specific place last.
const PLACES: [&str; 3] = ["hyper_parameters", "args", "model_config"];
/// Most items of a list that is read.
const LONGEST: usize = 65_536;

/// `config.json` in the words of the package, with the defaults of its base model.
#[derive(Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "the package's own switches")]
struct Raw {
    encoder: String,
    encoder_width: Option<usize>,
    encoder_layers: Option<usize>,
    num_register_tokens: Option<usize>,
    hidden_dim: usize,
    dim_feedforward: usize,
    patch_size: usize,
    num_windows: usize,
    window_block_indexes: Option<Vec<usize>>,
    dec_layers: usize,
    sa_nheads: Option<usize>,
    ca_nheads: Option<usize>,
    dec_n_points: usize,
    num_queries: usize,
    num_select: Option<u32>,
    num_channels: usize,
    num_decoder_registers: usize,
    projector_scale: Vec<String>,
    out_feature_indexes: Vec<i64>,
    positional_encoding_size: usize,
    two_stage: bool,
    bbox_reparam: bool,
    lite_refpoint_refine: bool,
    layer_norm: bool,
    rms_norm: bool,
    decoder_norm: String,
    use_grouppose_keypoints: bool,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            encoder: "dinov2_windowed_small".into(),
            encoder_width: None,
            encoder_layers: None,
            num_register_tokens: None,
            hidden_dim: 256,
            dim_feedforward: 2048,
            patch_size: 14,
            num_windows: 4,
            window_block_indexes: None,
            dec_layers: 3,
            sa_nheads: None,
            ca_nheads: None,
            dec_n_points: 2,
            num_queries: 300,
            num_select: None,
            num_channels: 3,
            num_decoder_registers: 0,
            projector_scale: vec!["P4".into()],
            out_feature_indexes: vec![2, 5, 8, 11],
            positional_encoding_size: 37,
            two_stage: true,
            bbox_reparam: true,
            lite_refpoint_refine: true,
            layer_norm: true,
            rms_norm: false,
            decoder_norm: "LN".into(),
            use_grouppose_keypoints: false,
        }
    }
}

/// Whether a configuration is in the words of the package.
pub(super) fn is_own(config: &Config) -> bool {
    config.raw().contains_key(MARK) && !config.raw().contains_key("backbone_config")
}

/// Reads and checks a configuration in the words of the package.
pub(super) fn read(config: &Config) -> Result<RfDetrConfig, Error> {
    let raw: Raw = Config::parse(config.raw())?;
    raw.check()?;
    let backbone = raw.backbone()?;
    let projector = Projector {
        scales: raw.scales()?,
        channels: backbone.hidden_size,
        hidden: raw.hidden_dim / 2,
        out: raw.hidden_dim,
        blocks: 3,
        epsilon: 1e-6,
        activation: function("activation", "silu")?,
    };
    let detections = raw.num_select.unwrap_or(raw.num_queries as u32).max(1);
    Ok(RfDetrConfig { backbone, projector, decoder: raw.decoder()?, detections })
}

impl Raw {
    fn check(&self) -> Result<(), Error> {
        let switches = [
            ("use_grouppose_keypoints", self.use_grouppose_keypoints, "false: keypoints are not exported"),
            ("rms_norm", self.rms_norm, "false"),
            ("layer_norm", !self.layer_norm, "true"),
        ];
        for (key, refused, expected) in switches {
            if refused {
                return Err(refuse(key, (key != "layer_norm").to_string(), expected));
            }
        }
        if !["LN", "Identity"].contains(&self.decoder_norm.as_str()) {
            return Err(refuse("decoder_norm", format!("`{}`", self.decoder_norm), "`LN` or `Identity`"));
        }
        let limits = Limits::of("");
        limits.within("num_channels", self.num_channels, 3, 3)?;
        limits.within("hidden_dim", self.hidden_dim, 4, 65_536)?;
        limits.within("positional_encoding_size", self.positional_encoding_size, 1, 1024)?;
        limits.within("patch_size", self.patch_size, 1, 1024)
    }

    /// `DINOv2` by the name of the encoder: `dinov2`, `registers` or not, `windowed`, a size.
    fn backbone(&self) -> Result<super::dinov2::Dinov2, Error> {
        let mut parts: Vec<&str> = self.encoder.split('_').collect();
        let mut has = |word: &str| {
            let place = parts.iter().position(|part| *part == word);
            place.map(|place| parts.remove(place)).is_some()
        };
        let (registers, windowed) = (has("registers"), has("windowed"));
        let known = [("small", 384, 12), ("base", 768, 12), ("large", 1024, 24)];
        let size = known.iter().find(|(size, ..)| parts == ["dinov2", size]);
        let (Some((_, width, layers)), true) = (size, windowed) else {
            let expected =
                "`dinov2_windowed_` or `dinov2_registers_windowed_` and `small`, `base` or `large`";
            return Err(refuse(MARK, format!("`{}`", self.encoder), expected));
        };
        let hidden_size = self.encoder_width.unwrap_or(*width);
        let backbone = RawBackbone {
            hidden_size,
            num_hidden_layers: self.encoder_layers.unwrap_or(*layers),
            // All of DINOv2's heads are 64 wide.
            num_attention_heads: (hidden_size / 64).max(1),
            image_size: Sides::Square(self.positional_encoding_size * self.patch_size),
            patch_size: Sides::Square(self.patch_size),
            out_indices: Some(self.out_feature_indexes.clone()),
            num_windows: self.num_windows,
            window_block_indexes: self.window_block_indexes.clone(),
            ..RawBackbone::default()
        };
        let registers = self.num_register_tokens.unwrap_or(if registers { 4 } else { 0 });
        backbone.checked(registers, WindowOrder::RowsFirst)
    }

    fn scales(&self) -> Result<Vec<f64>, Error> {
        Limits::of("").within("projector_scale", self.projector_scale.len(), 1, 16)?;
        let scale = |name: &String| match name.as_str() {
            "P3" => Ok(2.0),
            "P4" => Ok(1.0),
            "P5" => Ok(0.5),
            other => Err(refuse("projector_scale", format!("`{other}`"), "`P3`, `P4` or `P5`")),
        };
        self.projector_scale.iter().map(scale).collect()
    }

    fn decoder(&self) -> Result<Decoder, Error> {
        let keys = json!({
            "d_model": self.hidden_dim,
            "decoder_ffn_dim": self.dim_feedforward,
            "decoder_n_points": self.dec_n_points,
            "decoder_layers": self.dec_layers,
            "decoder_self_attention_heads": self.sa_nheads.unwrap_or(self.hidden_dim / 32),
            "decoder_cross_attention_heads": self.ca_nheads.unwrap_or(self.hidden_dim / 16),
            "num_queries": self.num_queries,
        });
        let Value::Object(keys) = keys else { return Err(refuse(MARK, keys.to_string(), "an object")) };
        let decoder = Config::parse::<super::super::lw_detr::config::RawDecoder>(&keys)?.checked()?;
        Limits::of("").within("num_decoder_registers", self.num_decoder_registers, 0, 4096)?;
        Ok(Decoder {
            form: if self.bbox_reparam { BoxForm::Relative } else { BoxForm::Logits },
            two_stage: self.two_stage,
            scores_padding: true,
            refines: !self.lite_refpoint_refine,
            normalizes: self.decoder_norm == "LN",
            registers: self.num_decoder_registers,
            ..decoder
        })
    }
}

/// The files with what a checkpoint of the package stands for; `None` when they hold none, or need nothing.
///
/// # Errors
/// As [`Checkpoint::read`], for files that look like such a checkpoint.
pub(crate) fn described(files: &dyn Files) -> Result<Option<Overlay<'_>>, Error> {
    let mut config = match Config::find(files)? {
        Some(config) if config.model_type().as_deref() == Some("rf_detr") && is_own(&config) => {
            config.raw().clone()
        }
        Some(_) => return Ok(None),
        None => Map::new(),
    };
    // Without weights that can be read, what is missing is told elsewhere.
    let Ok(checkpoint) = Checkpoint::read(files) else { return Ok(None) };
    let shapes = Shapes::new(&checkpoint);
    if shapes.of("refpoint_embed.weight").is_none()
        || shapes.of(&format!("{ENCODER}embeddings.position_embeddings")).is_none()
    {
        return Ok(None);
    }
    if let Some(file) = checkpoint.files().first() {
        let bytes = files.read(file)?;
        if is_pickle(&bytes) {
            let stated = stated(&Document::parse(file, &bytes)?);
            config.extend(stated.into_iter().filter(|(_, value)| !value.is_null()));
        }
    }
    complete(&mut config, &shapes);
    let side = config["resolution"].clone();
    let processor = json!({
        "image_processor_type": "RfDetrImageProcessor", "do_pad": false,
        "size": {"height": side.clone(), "width": side},
    });
    let mut overlay = Overlay::new(files).with(CONFIG, Value::Object(config).to_string());
    if files.read_if_present(PROCESSOR)?.is_none() {
        overlay = overlay.with(PROCESSOR, processor.to_string());
    }
    Ok(Some(overlay))
}

/// What the file says of the network.
fn stated(document: &Document) -> Map<String, Value> {
    let mut all = Map::new();
    for place in PLACES {
        let Some(node) = document.root().get(place) else { continue };
        let entries = node.state().unwrap_or(node).entries();
        for (key, value) in entries.take(LONGEST) {
            if let (Some(key), Some(value)) = (key.as_text(), plain(value)) {
                all.insert(key.to_owned(), value);
            }
        }
    }
    all
}

/// A number, a truth value, a text or a list of them.
fn plain(node: Node<'_>) -> Option<Value> {
    let scalar = |node: Node<'_>| {
        node.as_bool()
            .map(Value::from)
            .or_else(|| node.as_int().map(Value::from))
            .or_else(|| node.as_float().map(Value::from))
            .or_else(|| node.as_text().map(Value::from))
    };
    if node.items().len() > 0 && node.items().len() <= LONGEST {
        return node.items().map(scalar).collect::<Option<Vec<_>>>().map(Value::from);
    }
    scalar(node)
}

/// The shapes of a checkpoint's tensors, without what may stand before all of their names.
struct Shapes<'a>(BTreeMap<&'a str, &'a [usize]>);

impl<'a> Shapes<'a> {
    fn new(checkpoint: &'a Checkpoint) -> Self {
        let bare = |name: &'a str| {
            let name = name.strip_prefix("model.").unwrap_or(name);
            name.strip_prefix("_orig_mod.").unwrap_or(name)
        };
        Self(checkpoint.tensors().map(|(name, stored)| (bare(name), &*stored.shape)).collect())
    }

    fn of(&self, name: &str) -> Option<&[usize]> {
        self.0.get(name).copied()
    }

    fn size(&self, name: &str, axis: usize) -> Option<usize> {
        self.of(name)?.get(axis).copied()
    }

    /// How many modules of a list there are.
    fn count(&self, before: &str, after: &str) -> usize {
        (0..512).take_while(|index| self.of(&format!("{before}{index}{after}")).is_some()).count()
    }
}

/// Adds what the shapes and the package's variants say.
fn complete(config: &mut Map<String, Value>, shapes: &Shapes<'_>) {
    config.insert("model_type".into(), "rf_detr".into());
    let embeddings = format!("{ENCODER}embeddings.");
    let patches = format!("{embeddings}patch_embeddings.projection.weight");
    let registers = shapes.size(&format!("{embeddings}register_tokens"), 1).unwrap_or(0);
    let positions = shapes.size(&format!("{embeddings}position_embeddings"), 1);
    let groups = shapes.count("transformer.enc_output.", ".weight");
    let rows = shapes.size("refpoint_embed.weight", 0);
    let stages = shapes.count("backbone.0.projector.stages.", ".0.cv1.conv.weight");
    let scales: Vec<&str> = (0..stages).map(|stage| scale(shapes, stage)).collect();
    let norm = "backbone.0.projector.stages.0.0.cv1.bn.running_mean";
    let has_keypoints = shapes.count("keypoint_embed.layers.", ".weight") > 0;
    let mut known: Vec<(&str, Option<Value>)> = vec![
        ("patch_size", shapes.size(&patches, 2).map(Value::from)),
        ("num_channels", shapes.size(&patches, 1).map(Value::from)),
        ("encoder_width", shapes.size(&patches, 0).map(Value::from)),
        ("num_register_tokens", Some(registers.into())),
        ("positional_encoding_size", positions.map(|rows| rows.saturating_sub(1).isqrt().into())),
        ("encoder_layers", Some(shapes.count(&format!("{ENCODER}encoder.layer."), ".norm1.weight").into())),
        ("hidden_dim", shapes.size("class_embed.weight", 1).map(Value::from)),
        ("dec_layers", Some(shapes.count("transformer.decoder.layers.", ".norm1.weight").into())),
        ("dim_feedforward", shapes.size("transformer.decoder.layers.0.linear1.weight", 0).map(Value::from)),
        ("two_stage", Some((groups > 0).into())),
        ("projector_scale", (stages > 0).then(|| scales.into())),
        ("num_decoder_registers", Some(shapes.size("transformer.register_tokens", 0).unwrap_or(0).into())),
        ("layer_norm", Some(shapes.of(norm).is_none().into())),
        ("use_grouppose_keypoints", has_keypoints.then_some(Value::Bool(true))),
    ];
    if groups > 0 {
        known.push(("num_queries", rows.map(|rows| (rows / groups).into())));
    }
    for (key, value) in known {
        if let Some(value) = value {
            config.insert(key.into(), value);
        }
    }
    for (key, value) in guessed(config) {
        config.entry(key).or_insert(value);
    }
    if let Some(names) = names(config, shapes.size("class_embed.weight", 0)) {
        config.insert("names".into(), names);
    }
}

/// The scale of a stage of the projector.
fn scale(shapes: &Shapes<'_>, stage: usize) -> &'static str {
    let first = format!("backbone.0.projector.stages_sampling.{stage}.0.0");
    if shapes.of(&format!("{first}.conv.weight")).is_some() {
        "P5"
    } else if shapes.of(&format!("{first}.weight")).is_some() {
        "P3"
    } else {
        "P4"
    }
}

/// What the package's own variants have where nothing is written down: they differ by the size of their patches.
fn guessed(config: &Map<String, Value>) -> [(String, Value); 5] {
    let number = |key: &str| config.get(key).and_then(Value::as_u64).unwrap_or(0);
    let (patch, positions) = (number("patch_size"), number("positional_encoding_size"));
    let base = patch == 14;
    let windows = match (base, patch == 12 && positions == 26) {
        (true, _) => 4,
        (_, true) => 1,
        _ => 2,
    };
    let stages = if base { [2, 5, 8, 11] } else { [3, 6, 9, 12] };
    let resolution = if base && positions == 37 { 560 } else { patch.saturating_mul(positions) };
    let with_registers = number("num_register_tokens") > 0;
    let size = match number("encoder_width") {
        768 => "base",
        1024 => "large",
        _ => "small",
    };
    let encoder = if with_registers { "dinov2_registers_windowed_" } else { "dinov2_windowed_" };
    [
        ("num_windows", json!(windows)),
        ("out_feature_indexes", json!(stages)),
        ("resolution", json!(resolution)),
        (MARK, format!("{encoder}{size}").into()),
        ("num_select", config.get("num_queries").cloned().unwrap_or(json!(300))),
    ]
    .map(|(key, value)| (key.to_owned(), value))
}

/// The names of the classes by the rows of the head, where the file has them.
fn names(config: &Map<String, Value>, rows: Option<usize>) -> Option<Value> {
    let names: Vec<&str> =
        config.get("class_names")?.as_array()?.iter().map(Value::as_str).collect::<Option<_>>()?;
    let rows = rows.unwrap_or(names.len());
    let is_coco =
        rows == 91 && names.len() == COCO.len() && names[0] == "person" && names[79] == "toothbrush";
    let mut by_id = Map::new();
    for (at, name) in names.iter().enumerate() {
        let id = if is_coco { COCO[at].into() } else { at };
        by_id.insert(id.to_string(), (*name).into());
    }
    // The head has one row more than there are classes.
    if names.len() + 1 == rows {
        by_id.insert(names.len().to_string(), "N/A".into());
    }
    (!names.is_empty()).then(|| by_id.into())
}

/// The ids of COCO's 80 classes: a head that was trained with them has a row for each id.
const COCO: [u8; 80] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 27, 28, 31, 32,
    33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59,
    60, 61, 62, 63, 64, 65, 67, 70, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 84, 85, 86, 87, 88, 89, 90,
];

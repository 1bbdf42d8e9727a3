//! What a TensorRT engine became: its layers with the numbers that they compute with, its inputs and outputs.
//!
//! The file is the one that `trtexec --exportLayerInfo` writes. An engine built without `--profilingVerbosity=detailed` gives
//! the layers' names only. Up to TensorRT 10 `Bindings` names the inputs and outputs, and a tensor's layout and type stand
//! in one phrase (`Channel major FP16 format where channel % 8 == 0`); from 11 on there are `I/O Tensors` with profiles, and
//! two fields.

use serde::Serialize;
use serde_json::Value;

use crate::{DataType, Error};

/// The content of a layer file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EngineLayers {
    /// The layers in the order in which they run.
    pub layers: Vec<EngineLayer>,
    /// Inputs of the engine.
    pub inputs: Vec<EngineTensor>,
    /// Outputs of the engine.
    pub outputs: Vec<EngineTensor>,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EngineLayer {
    /// Its name: the nodes that were fused into it.
    pub name: String,
    /// What it is: `CaskConvolution`, `Myelin`, `kgen`; empty where the file does not say.
    pub kind: String,
    /// What it computes with; `None` where the file does not say, or where it only moves data.
    pub dtype: Option<DataType>,
    /// Its weights, where it says how many.
    pub weights: u64,
}

/// An input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EngineTensor {
    /// Its name.
    pub name: String,
    /// The type of its elements, where it is known.
    pub dtype: Option<DataType>,
    /// Its sizes; −1 where the profile decides. Empty where they are not known.
    pub shape: Vec<i64>,
    /// Its shapes by profile, where the file says them.
    pub profiles: Vec<EngineProfile>,
}

/// The shapes that a profile allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EngineProfile {
    /// The smallest.
    pub min: Vec<i64>,
    /// The fastest.
    pub opt: Vec<i64>,
    /// The largest.
    pub max: Vec<i64>,
}

/// How much of an engine computes with a type.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EngineShare {
    /// The type.
    pub dtype: DataType,
    /// Layers that compute with it.
    pub layers: usize,
    /// Its share of the layers that count, 0 to 1.
    pub share: f64,
}

/// Layers that only move data, by what their kind contains.
const MOVING: &[&str] = &[
    "reformat",
    "noop",
    "constant",
    "shuffle",
    "slice",
    "shape",
    "signal",
    "wait",
    "copy",
    "cast",
    "concat",
    "transpose",
    "move",
];

impl EngineLayers {
    /// Reads a layer file.
    ///
    /// # Errors
    /// [`Error::NotEngineLayers`] when it is no JSON or has no layers.
    pub fn read(file: &[u8]) -> Result<Self, Error> {
        let bad = |reason: String| Error::NotEngineLayers { reason };
        // TensorRT 8 puts separators (0x1E) between the names of fused layers as they are, which JSON does not allow.
        let plain: Vec<u8> =
            file.iter().map(|byte| if *byte < b' ' && *byte != b'\n' { b' ' } else { *byte }).collect();
        let file: Value = serde_json::from_slice(&plain).map_err(|error| bad(error.to_string()))?;
        let layers = file.get("Layers").and_then(Value::as_array);
        let layers = layers.ok_or_else(|| bad("it has no `Layers`".into()))?;
        let (inputs, outputs) = ends(&file, layers);
        Ok(Self { layers: layers.iter().map(layer).collect(), inputs, outputs })
    }

    /// Whether the engine says more of its layers than their names.
    pub fn is_detailed(&self) -> bool {
        self.layers.iter().any(|layer| !layer.kind.is_empty())
    }

    /// The types that the engine computes with, the most used first.
    ///
    /// Where layers say their weights, these layers count: what lies between them follows them. Otherwise all layers count
    /// that compute.
    pub fn shares(&self) -> Vec<EngineShare> {
        let weighted = self.layers.iter().any(|layer| layer.weights > 0 && layer.dtype.is_some());
        let counted = self.layers.iter().filter(|layer| !weighted || layer.weights > 0);
        let mut shares: Vec<EngineShare> = Vec::new();
        for dtype in counted.filter_map(|layer| layer.dtype) {
            match shares.iter_mut().find(|share| share.dtype == dtype) {
                Some(share) => share.layers += 1,
                None => shares.push(EngineShare { dtype, layers: 1, share: 0.0 }),
            }
        }
        let total: usize = shares.iter().map(|share| share.layers).sum();
        for share in &mut shares {
            share.share = share.layers as f64 / total as f64;
        }
        shares.sort_by(|a, b| b.layers.cmp(&a.layers).then(a.dtype.cmp(&b.dtype)));
        shares
    }
}

fn layer(value: &Value) -> EngineLayer {
    // Without details a layer is its name.
    let name = value.as_str().or_else(|| value.get("Name")?.as_str()).unwrap_or_default().to_owned();
    let kind = value.get("LayerType").and_then(Value::as_str).unwrap_or_default().to_owned();
    let weights = value.get("Weights");
    let count = weights.and_then(|weights| weights.get("Count")?.as_u64()).unwrap_or(0);
    let moves = MOVING.iter().any(|part| kind.to_ascii_lowercase().contains(part));
    let dtype = match weights.filter(|_| count > 0).and_then(|weights| weights.get("Type")?.as_str()) {
        Some(kind) => dtype(kind),
        None if moves => None,
        None => tensors(value, "Outputs").find_map(|(_, dtype, _)| dtype.filter(|dtype| is_number(*dtype))),
    };
    EngineLayer { name, kind, dtype, weights: count }
}

fn is_number(dtype: DataType) -> bool {
    dtype.is_float() || dtype == DataType::I8
}

/// Name, type and sizes of a layer's inputs or outputs.
fn tensors<'a>(
    layer: &'a Value,
    side: &str,
) -> impl Iterator<Item = (&'a str, Option<DataType>, Vec<i64>)> + use<'a> {
    layer.get(side).and_then(Value::as_array).into_iter().flatten().filter_map(|tensor| {
        let name = tensor.get("Name")?.as_str()?;
        let words =
            ["Format/Datatype", "Datatype", "DataType"].iter().find_map(|key| tensor.get(key)?.as_str());
        Some((name, words.and_then(dtype), sizes(tensor.get("Dimensions"))))
    })
}

fn sizes(value: Option<&Value>) -> Vec<i64> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_i64).collect()
}

/// The type in `Half`, `FP16`, `Row major linear FP32`, `Thirty-two wide channel vectorized row major Int8 format`.
fn dtype(words: &str) -> Option<DataType> {
    // A type whose name contains another one's comes first.
    const NAMES: &[(&str, DataType)] = &[
        ("bfloat16", DataType::Bf16),
        ("bf16", DataType::Bf16),
        ("fp16", DataType::F16),
        ("half", DataType::F16),
        ("fp32", DataType::F32),
        ("fp8", DataType::F8E4M3Fn),
        ("float8", DataType::F8E4M3Fn),
        ("float", DataType::F32),
        ("uint8", DataType::U8),
        ("int8", DataType::I8),
        ("int64", DataType::I64),
        ("int32", DataType::I32),
        ("bool", DataType::Bool),
    ];
    let words = words.to_ascii_lowercase();
    NAMES.iter().find(|(name, _)| words.contains(name)).map(|(_, dtype)| *dtype)
}

/// The engine's inputs and outputs.
fn ends(file: &Value, layers: &[Value]) -> (Vec<EngineTensor>, Vec<EngineTensor>) {
    if let Some(tensors) = file.get("I/O Tensors").and_then(Value::as_array) {
        let (inputs, outputs): (Vec<&Value>, Vec<&Value>) = tensors.iter().partition(|tensor| {
            tensor
                .get("IOMode")
                .and_then(Value::as_str)
                .is_some_and(|mode| mode.to_lowercase().contains("input"))
        });
        return (inputs.into_iter().map(end).collect(), outputs.into_iter().map(end).collect());
    }
    let names =
        file.get("Bindings").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let all = |side: &'static str| layers.iter().flat_map(move |layer| tensors(layer, side));
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    for name in names {
        // Whatever no layer makes comes from outside.
        let made = all("Outputs").find(|(known, ..)| *known == name);
        let is_output = made.is_some();
        let known = made.or_else(|| all("Inputs").find(|(known, ..)| *known == name));
        let (_, dtype, shape) = known.unwrap_or_default();
        let tensor = EngineTensor { name: name.to_owned(), dtype, shape, profiles: Vec::new() };
        if is_output { outputs.push(tensor) } else { inputs.push(tensor) }
    }
    (inputs, outputs)
}

fn end(tensor: &Value) -> EngineTensor {
    let text = |key: &str| tensor.get(key).and_then(Value::as_str);
    let profiles = tensor.get("ProfileInfo").and_then(Value::as_array).into_iter().flatten();
    let profile = |value: &Value| EngineProfile {
        min: sizes(value.get("MinShape")),
        opt: sizes(value.get("OptShape")),
        max: sizes(value.get("MaxShape")),
    };
    EngineTensor {
        name: text("Name").unwrap_or_default().to_owned(),
        dtype: text("DataType").or_else(|| text("Datatype")).and_then(dtype),
        shape: sizes(tensor.get("Dimensions")),
        profiles: profiles.map(profile).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: &str = include_str!("../../runtime/tests/fixtures/trtexec/layers_fp16.json");

    #[test]
    fn the_precision_is_read_from_the_layers_with_weights() {
        let layers = EngineLayers::read(HALF.as_bytes()).unwrap();
        assert!(layers.is_detailed());
        let shares: Vec<_> = layers.shares().iter().map(|share| (share.dtype, share.layers)).collect();
        assert_eq!(shares, [(DataType::F16, 2), (DataType::F32, 1)]);
        let first = &layers.layers[0];
        assert_eq!((first.kind.as_str(), first.dtype, first.weights), ("Reformat", None, 0));
        let names = |tensors: &[EngineTensor]| tensors.iter().map(|t| t.name.clone()).collect::<Vec<_>>();
        assert_eq!(
            (names(&layers.inputs), names(&layers.outputs)),
            (vec!["images".into()], vec!["logits".into(), "pred_boxes".into()])
        );
        assert_eq!(
            (layers.inputs[0].dtype, &layers.inputs[0].shape[..]),
            (Some(DataType::F32), &[-1, 3, 64, 64][..])
        );
    }

    /// As TensorRT 8.6 writes it where sizes are open: types of tensors are not told, and names are parted by 0x1E.
    #[test]
    fn what_tensorrt_8_writes_is_read_though_it_is_no_json() {
        let file = b"{\"Layers\": [{\n\"Name\": \"/stem/Conv\", \"LayerType\": \"CaskConvolution\", \"Inputs\": [{\"Name\": \"images\",\n\
            \"Dimensions\": [-1,3,320,320], \"Format/Datatype\": \"N/A due to dynamic shapes\"}], \"Outputs\": [],\n\
            \"Weights\": {\"Type\": \"Half\", \"Count\": 432},\n\
            \"Metadata\": \"[ONNX Layer: /stem/Conv]\x1e[ONNX Layer: /stem/Sigmoid]\"}],\n\"Bindings\": [\"images\"\n,\"output0\"\n]}";
        let layers = EngineLayers::read(file).unwrap();
        assert_eq!((layers.layers[0].dtype, layers.inputs[0].dtype), (Some(DataType::F16), None));
        assert_eq!(layers.inputs[0].shape, [-1, 3, 320, 320]);
    }

    #[test]
    fn names_alone_and_the_form_of_11_are_read() {
        let names = br#"{"Layers": ["conv + relu", "head"], "Bindings": ["images", "output0"]}"#;
        let layers = EngineLayers::read(names).unwrap();
        assert!(!layers.is_detailed() && layers.shares().is_empty());
        assert_eq!(layers.layers[1].name, "head");
        let eleven =
            br#"{"Layers": [{"Name": "g", "LayerType": "gemm", "Outputs": [{"Name": "t", "Dimensions": [1],
            "Format": "Row major linear", "Datatype": "Half"}]}], "I/O Tensors": [
            {"Name": "images", "IOMode": "Input", "DataType": "Float", "Dimensions": [-1, 3],
             "ProfileInfo": [{"MinShape": [1, 3], "OptShape": [8, 3], "MaxShape": [16, 3], "Format": "x"}]},
            {"Name": "boxes", "IOMode": "Output", "DataType": "Half", "Dimensions": [-1, 4]}]}"#;
        let layers = EngineLayers::read(eleven).unwrap();
        assert_eq!(layers.inputs[0].profiles[0].max, [16, 3]);
        assert_eq!((layers.outputs[0].dtype, layers.shares()[0].dtype), (Some(DataType::F16), DataType::F16));
    }

    #[test]
    fn phrases_name_types() {
        let cases = [
            ("Row major linear FP32", Some(DataType::F32)),
            ("Channel major FP16 format where channel % 8 == 0", Some(DataType::F16)),
            ("Thirty-two wide channel vectorized row major Int8 format", Some(DataType::I8)),
            ("BFloat16", Some(DataType::Bf16)),
            ("Float", Some(DataType::F32)),
            ("Row major Int64 format", Some(DataType::I64)),
            ("N/A due to dynamic shapes", None),
        ];
        for (words, expected) in cases {
            assert_eq!(dtype(words), expected, "{words}");
        }
    }

    #[test]
    fn other_files_are_refused() {
        for text in ["", "[]", "{\"Bindings\": []}", "{\"Layers\": 3}"] {
            assert!(
                matches!(EngineLayers::read(text.as_bytes()), Err(Error::NotEngineLayers { .. })),
                "{text}"
            );
        }
    }
}

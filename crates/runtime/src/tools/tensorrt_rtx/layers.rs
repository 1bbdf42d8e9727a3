//! What the layers of an engine are, as the library says while it builds: so that the precision is proven where no graphics
//! processor could open the engine.

use serde_json::{Value, json};

use crate::tools::Profile;

/// How the message with all layers begins.
const MARK: &str = "Layers:";
/// Kinds of layers that multiply weights. Constants of others are small tables.
const WEIGHTED: &[&str] = &["correlation", "gemm", "runtime_fusion", "convolution", "deconvolution"];

/// An input or output of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    pub(super) name: String,
    /// The type as the library writes it: `Float`, `HALF`.
    pub(super) dtype: String,
    /// −1 where the profile decides.
    pub(super) shape: Vec<i64>,
    pub(super) is_input: bool,
    pub(super) profile: Option<Profile>,
}

/// Whether a message tells the layers.
pub(super) fn is_layers(text: &str) -> bool {
    text.starts_with(MARK)
}

/// The layers in the form of `trtexec --exportLayerInfo`; `None` when no message tells any.
pub(super) fn of_messages<'a>(messages: impl Iterator<Item = &'a str>, ends: &[End]) -> Option<String> {
    let told = messages.filter(|text| is_layers(text));
    let layers: Vec<Value> = told.flat_map(str::lines).filter_map(layer).collect();
    if layers.is_empty() {
        return None;
    }
    let ends: Vec<Value> = ends.iter().map(end).collect();
    Some(format!("{:#}\n", json!({ "Layers": layers, "I/O Tensors": ends })))
}

/// `Name: N, LayerType: K, Inputs: […], Constants: […], Outputs: […], TacticName: …`.
fn layer(line: &str) -> Option<Value> {
    let (name, rest) = line.strip_prefix("Name: ")?.split_once(", LayerType: ")?;
    let (kind, rest) = rest.split_once(", Inputs: [")?;
    let (inputs, rest) = rest.split_once("], Constants: [")?;
    let (constants, rest) = rest.split_once("], Outputs: [")?;
    let (outputs, _) = rest.split_once("], TacticName: ")?;
    let mut layer = json!({
        "Name": name, "LayerType": kind, "Inputs": tensors(inputs), "Outputs": tensors(outputs),
    });
    if WEIGHTED.contains(&kind)
        && let Some((dtype, count)) = weights(constants)
    {
        layer["Weights"] = json!({ "Type": dtype, "Count": count });
    }
    Some(layer)
}

/// `{ Name: N, Dimensions: [1,2], …, Datatype: Float, Format: … }, { …`.
fn tensors(text: &str) -> Vec<Value> {
    let each = text.split("{ Name: ").skip(1).filter_map(|part| {
        let (name, rest) = part.split_once(", Dimensions: [")?;
        let dtype = rest.split_once(", Datatype: ")?.1.split(',').next()?;
        Some(json!({ "Name": name, "Dimensions": sizes(rest), "Datatype": dtype }))
    });
    each.collect()
}

/// Type and count of the largest constant that has more than one side: a bias and a scale have one.
fn weights(constants: &str) -> Option<(String, i64)> {
    let matrices = tensors(constants).into_iter().filter_map(|tensor| {
        let sizes: Vec<i64> = tensor["Dimensions"].as_array()?.iter().filter_map(Value::as_i64).collect();
        let sides = sizes.iter().filter(|size| **size > 1).count();
        (sides > 1)
            .then(|| (tensor["Datatype"].as_str().unwrap_or_default().to_owned(), sizes.iter().product()))
    });
    matrices.max_by_key(|(_, count)| *count)
}

/// The numbers up to the bracket that closes.
fn sizes(text: &str) -> Vec<i64> {
    let inside = text.split(']').next().unwrap_or_default();
    inside.split(',').filter_map(|size| size.trim().parse().ok()).collect()
}

fn end(end: &End) -> Value {
    let mode = if end.is_input { "Input" } else { "Output" };
    let mut value =
        json!({ "Name": end.name, "IOMode": mode, "DataType": end.dtype, "Dimensions": end.shape });
    if let Some(profile) = &end.profile {
        value["ProfileInfo"] =
            json!([{ "MinShape": profile.min, "OptShape": profile.opt, "MaxShape": profile.max }]);
    }
    value
}

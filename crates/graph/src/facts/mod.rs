//! What `inspect` says of an ONNX model.
//!
//! Weights are counted, not read: facts about a memory-mapped model of any size touch only small integer constants (the
//! pieces of shapes). FLOPs are those of one image; they are absent rather than too small when a shape is not known.

mod flops;
mod tensorrt;
mod warnings;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Attribute, DataType, Graph, Model, Tensor, ValueInfo};

pub use tensorrt::{TENSORRT_OPSETS, TENSORRT_VERSION, supported_by_tensorrt};
pub use warnings::{Warning, WarningKind};

/// The facts of one model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Facts {
    /// The version of the container format.
    pub ir_version: i64,
    /// The version of ONNX's operator set.
    pub opset: i64,
    /// All operator sets by domain; `""` is ONNX itself.
    pub opsets: BTreeMap<String, i64>,
    /// The program that wrote the file.
    pub producer: String,
    /// Its version.
    pub producer_version: String,
    /// The graph's name.
    pub graph: String,
    /// What is fed, in order.
    pub inputs: Vec<ValueInfo>,
    /// What comes out, in order.
    pub outputs: Vec<ValueInfo>,
    /// Nodes, those in subgraphs included.
    pub nodes: usize,
    /// Nodes by operator (`Conv`, `com.microsoft.FusedConv`), most frequent first.
    pub operators: Vec<OperatorCount>,
    /// Weights: elements of all constants but index, text and truth values.
    pub parameters: u64,
    /// Bytes that these weights take.
    pub parameter_bytes: u64,
    /// Floating-point operations for one image (a multiply-add is two) of convolutions and matrix products; absent when
    /// the shapes of some are not known.
    pub flops: Option<u64>,
    /// Convolutions and matrix products that could not be counted: their shapes are unknown or they are in a subgraph.
    pub flops_unknown_nodes: usize,
    /// Weights and FLOPs by the element type of the weights, largest share of weights first.
    pub precisions: Vec<PrecisionShare>,
    /// `metadata_props`.
    pub metadata: BTreeMap<String, String>,
    /// External files that were not loaded.
    pub external: Vec<ExternalFile>,
    /// What may go wrong on the way to a deployment.
    pub warnings: Vec<Warning>,
}

/// How often an operator is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OperatorCount {
    /// The operator, with its domain where that is not ONNX's own.
    pub operator: String,
    /// Nodes.
    pub count: usize,
}

/// The part of a model that has one numeric format.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PrecisionShare {
    /// The element type of the weights (of the quantized weights in a Q/DQ graph).
    pub dtype: DataType,
    /// Weights stored so.
    pub parameters: u64,
    /// Their part of all weights, 0 to 1.
    pub parameter_share: f64,
    /// FLOPs of the nodes that compute with such weights; absent like [`Facts::flops`].
    pub flops: Option<u64>,
    /// Their part of all FLOPs, 0 to 1.
    pub flops_share: Option<f64>,
}

/// An external file that was not loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExternalFile {
    /// Its name in the model.
    pub location: String,
    /// Tensors in it.
    pub tensors: usize,
    /// Bytes that they take.
    pub bytes: u64,
}

impl Facts {
    /// The facts of `model`, which need not be sound: what [`Model::check`] finds becomes a warning.
    pub fn of(model: &Model) -> Self {
        let mut tally = Tally::default();
        tally.graph(&model.graph);
        let flops = flops::count(model);
        let total = flops.total();
        let parameters: u64 = tally.parameters.values().fold(0, |sum, (count, _)| sum.saturating_add(*count));
        let parameter_bytes =
            tally.parameters.values().fold(0, |sum: u64, (_, bytes)| sum.saturating_add(*bytes));
        let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        let mut dtypes: Vec<DataType> =
            tally.parameters.keys().chain(flops.by_dtype.keys()).copied().collect();
        dtypes.sort_unstable();
        dtypes.dedup();
        let mut precisions: Vec<PrecisionShare> = dtypes
            .into_iter()
            .map(|dtype| {
                let stored = tally.parameters.get(&dtype).map_or(0, |(count, _)| *count);
                let computed = total.map(|_| flops.by_dtype.get(&dtype).copied().unwrap_or(0));
                PrecisionShare {
                    dtype,
                    parameters: stored,
                    parameter_share: share(stored, parameters),
                    flops: computed,
                    flops_share: computed.zip(total).map(|(part, whole)| share(part, whole)),
                }
            })
            .collect();
        precisions.sort_by_key(|share| std::cmp::Reverse(share.parameters));
        let mut operators: Vec<OperatorCount> = tally
            .operators
            .iter()
            .map(|(operator, count)| OperatorCount { operator: operator.clone(), count: *count })
            .collect();
        operators.sort_by_key(|entry| std::cmp::Reverse(entry.count));
        let external: Vec<ExternalFile> = tally.external.into_values().collect();
        Self {
            ir_version: model.ir_version,
            opset: model.opset(),
            opsets: model.opsets.clone(),
            producer: model.producer_name.clone(),
            producer_version: model.producer_version.clone(),
            graph: model.graph.name.clone(),
            inputs: model.graph.inputs.clone(),
            outputs: model.graph.outputs.clone(),
            nodes: tally.operators.values().sum(),
            warnings: warnings::of(model, &tally.operators, &external),
            operators,
            parameters,
            parameter_bytes,
            flops: total,
            flops_unknown_nodes: flops.unknown_nodes,
            precisions,
            metadata: model.metadata.clone(),
            external,
        }
    }
}

/// Counts over a graph and its subgraphs.
#[derive(Default)]
struct Tally {
    operators: BTreeMap<String, usize>,
    /// Elements and bytes by type.
    parameters: BTreeMap<DataType, (u64, u64)>,
    external: BTreeMap<String, ExternalFile>,
}

impl Tally {
    fn graph(&mut self, graph: &Graph) {
        graph.initializers.values().for_each(|tensor| self.tensor(tensor));
        for node in &graph.nodes {
            *self.operators.entry(node.operator()).or_default() += 1;
            for attribute in node.attributes.values() {
                match attribute {
                    Attribute::Tensor(tensor) if node.op_type == "Constant" => self.tensor(tensor),
                    Attribute::Graph(graph) => self.graph(graph),
                    Attribute::Graphs(graphs) => graphs.iter().for_each(|graph| self.graph(graph)),
                    _ => {}
                }
            }
        }
    }

    fn tensor(&mut self, tensor: &Tensor) {
        if let Some(external) = tensor.external() {
            let empty = ExternalFile { location: external.location.clone(), tensors: 0, bytes: 0 };
            let file = self.external.entry(external.location.clone()).or_insert(empty);
            file.tensors += 1;
            file.bytes = file.bytes.saturating_add(tensor.byte_len() as u64);
        }
        if matches!(tensor.dtype(), DataType::I64 | DataType::Bool | DataType::String) {
            return;
        }
        let (count, bytes) = self.parameters.entry(tensor.dtype()).or_default();
        *count = count.saturating_add(tensor.len() as u64);
        *bytes = bytes.saturating_add(tensor.byte_len() as u64);
    }
}

//! The parts of an ONNX model, owned and editable.
//!
//! Nodes stay generic (`op_type`, attributes), so an operator that we do not know is read, moved and written back
//! untouched.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::{DataType, Tensor};

/// A model: a graph and what the file says about it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Model {
    /// The version of the container format.
    pub ir_version: i64,
    /// The program that wrote the file.
    pub producer_name: String,
    /// Its version.
    pub producer_version: String,
    /// The model's name space, mostly empty.
    pub domain: String,
    /// The model's own version number.
    pub model_version: i64,
    /// Free text.
    pub doc: String,
    /// Operator set versions by domain; `""` is ONNX itself.
    pub opsets: BTreeMap<String, i64>,
    /// `metadata_props`.
    pub metadata: BTreeMap<String, String>,
    /// The graph.
    pub graph: Graph,
    /// Model-local functions, encoded, kept as they were.
    pub functions: Vec<Bytes>,
    /// Encoded parts that are kept but not understood, by field number (training information, device configurations).
    pub other: Vec<(u32, Bytes)>,
}

impl Model {
    /// The version of ONNX's own operator set, 0 when the file does not name one.
    pub fn opset(&self) -> i64 {
        self.opsets.get("").or_else(|| self.opsets.get("ai.onnx")).copied().unwrap_or(0)
    }

    /// A model with the same header and an empty graph.
    pub(crate) fn clone_header(&self) -> Self {
        Self {
            ir_version: self.ir_version,
            producer_name: self.producer_name.clone(),
            producer_version: self.producer_version.clone(),
            opsets: self.opsets.clone(),
            ..Self::default()
        }
    }
}

/// Nodes in an order in which each one's inputs come first, with their constants.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Graph {
    /// The graph's name.
    pub name: String,
    /// Free text.
    pub doc: String,
    /// What is fed. Initializers that old files repeat here are left out.
    pub inputs: Vec<ValueInfo>,
    /// What comes out.
    pub outputs: Vec<ValueInfo>,
    /// The operators, in order.
    pub nodes: Vec<Node>,
    /// Constants by name.
    pub initializers: IndexMap<String, Tensor>,
    /// Types and shapes of values between nodes, where they are known.
    pub values: IndexMap<String, ValueInfo>,
    /// Encoded parts that are kept but not understood (quantization annotations, sparse initializers, metadata).
    pub other: Vec<(u32, Bytes)>,
}

impl Graph {
    /// Leaves out nodes, constants and descriptions that no output depends on.
    pub(crate) fn drop_dead_parts(&mut self) {
        let mut needed: HashSet<&str> = self.outputs.iter().map(|output| output.name.as_str()).collect();
        let mut alive = vec![false; self.nodes.len()];
        for (node, alive) in self.nodes.iter().zip(&mut alive).rev() {
            *alive = node.outputs.iter().any(|output| needed.contains(output.as_str()));
            if *alive {
                node.names_read(&mut needed);
            }
        }
        let needed: HashSet<String> = needed.into_iter().map(str::to_owned).collect();
        let mut alive = alive.into_iter();
        self.nodes.retain(|_| alive.next().unwrap_or(true));
        self.initializers.retain(|name, _| needed.contains(name));
        let made: HashSet<&String> = self.nodes.iter().flat_map(|node| &node.outputs).collect();
        self.values.retain(|name, _| made.contains(name));
    }
}

/// One use of an operator.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Node {
    /// The node's name; may be empty in foreign files.
    pub name: String,
    /// The operator.
    pub op_type: String,
    /// The operator's domain; empty is ONNX itself.
    pub domain: String,
    /// Names of the values that go in; an empty name is an absent optional input.
    pub inputs: Vec<String>,
    /// Names of the values that come out.
    pub outputs: Vec<String>,
    /// Attributes by name.
    pub attributes: BTreeMap<String, Attribute>,
    /// Free text.
    pub doc: String,
    /// Encoded parts that are kept but not understood, by field number (metadata, function overload, sharding).
    pub other: Vec<(u32, Bytes)>,
}

impl Node {
    /// The operator with its domain where that is not ONNX's own: `Conv`, `com.microsoft.FusedConv`.
    pub fn operator(&self) -> String {
        match self.domain.as_str() {
            "" | "ai.onnx" => self.op_type.clone(),
            domain => format!("{domain}.{}", self.op_type),
        }
    }

    /// The graphs inside this node (`If`, `Loop`, `Scan`).
    pub fn subgraphs(&self) -> impl Iterator<Item = &Graph> {
        self.attributes.values().flat_map(|attribute| match attribute {
            Attribute::Graph(graph) => std::slice::from_ref(&**graph),
            Attribute::Graphs(graphs) => graphs.as_slice(),
            _ => &[],
        })
    }

    /// Adds every value that this node reads, those that its subgraphs take from outside included.
    pub(crate) fn names_read<'a>(&'a self, read: &mut HashSet<&'a str>) {
        read.extend(self.inputs.iter().map(String::as_str));
        for graph in self.subgraphs() {
            graph.nodes.iter().for_each(|node| node.names_read(read));
            read.extend(graph.outputs.iter().map(|output| output.name.as_str()));
        }
    }

    /// The text attribute of this name, when it is UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.attributes.get(name)? {
            Attribute::String(value) => std::str::from_utf8(value).ok(),
            _ => None,
        }
    }

    /// The constant attribute of this name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        match self.attributes.get(name)? {
            Attribute::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// The integer attribute of this name.
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.attributes.get(name)? {
            Attribute::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The integer-list attribute of this name.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.attributes.get(name)? {
            Attribute::Ints(values) => Some(values),
            _ => None,
        }
    }
}

/// The value of a node's attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    /// A float.
    Float(f32),
    /// An integer.
    Int(i64),
    /// Text or bytes.
    String(Bytes),
    /// A constant.
    Tensor(Tensor),
    /// A subgraph (`If`, `Loop`, `Scan`).
    Graph(Box<Graph>),
    /// Floats.
    Floats(Vec<f32>),
    /// Integers.
    Ints(Vec<i64>),
    /// Texts.
    Strings(Vec<Bytes>),
    /// Constants.
    Tensors(Vec<Tensor>),
    /// Subgraphs.
    Graphs(Vec<Graph>),
    /// A kind that detectors do not use, encoded, kept as it was.
    Other(Bytes),
}

impl From<i64> for Attribute {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<f32> for Attribute {
    fn from(value: f32) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Attribute {
    fn from(value: &str) -> Self {
        Self::String(Bytes::copy_from_slice(value.as_bytes()))
    }
}

impl From<Vec<i64>> for Attribute {
    fn from(values: Vec<i64>) -> Self {
        Self::Ints(values)
    }
}

impl From<&[i64]> for Attribute {
    fn from(values: &[i64]) -> Self {
        Self::Ints(values.to_vec())
    }
}

/// The name of a value with what is known of its type and shape.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueInfo {
    /// The value's name.
    pub name: String,
    /// The element type; `None` when the file does not say, or when the value is no tensor.
    pub dtype: Option<DataType>,
    /// The dimensions; `None` when the rank is unknown.
    pub shape: Option<Vec<Dim>>,
    /// Encoded parts that are kept but not understood, by field number (text, metadata, a type that is no tensor's).
    #[serde(skip)]
    pub other: Vec<(u32, Bytes)>,
}

impl ValueInfo {
    /// A tensor of known type and shape.
    pub fn tensor(name: impl Into<String>, dtype: DataType, shape: Vec<Dim>) -> Self {
        Self { name: name.into(), dtype: Some(dtype), shape: Some(shape), other: Vec::new() }
    }

    /// The dimensions when every one is a number.
    pub fn fixed_shape(&self) -> Option<Vec<usize>> {
        self.shape.as_ref()?.iter().map(Dim::fixed).collect()
    }
}

/// One dimension.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Dim {
    /// A number.
    Fixed(usize),
    /// A name that stands for a number known at run time.
    Symbol(String),
    /// Not stated.
    Unknown,
}

impl Dim {
    /// The symbol of the batch dimension in our own graphs.
    pub fn batch() -> Self {
        Self::Symbol("batch".into())
    }

    /// The number, when it is one.
    pub fn fixed(&self) -> Option<usize> {
        match self {
            Self::Fixed(size) => Some(*size),
            _ => None,
        }
    }
}

impl From<usize> for Dim {
    fn from(size: usize) -> Self {
        Self::Fixed(size)
    }
}

impl std::fmt::Display for Dim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Symbol(name) => f.write_str(name),
            Self::Unknown => f.write_str("?"),
        }
    }
}

impl std::fmt::Display for ValueInfo {
    /// `pixel_values  float32 [batch, 3, 640, 640]`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dtype = self.dtype.map_or("?", DataType::name);
        let Some(shape) = &self.shape else { return write!(f, "{}  {dtype} of unknown rank", self.name) };
        let sizes: Vec<String> = shape.iter().map(ToString::to_string).collect();
        write!(f, "{}  {dtype} [{}]", self.name, sizes.join(", "))
    }
}

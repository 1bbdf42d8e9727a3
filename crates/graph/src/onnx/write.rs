//! From a [`Model`] to bytes, streamed.
//!
//! Protobuf states the length of a message before its content, so every length is added up first; then nodes and
//! initializers go out one by one. A deferred tensor is computed when its turn comes and dropped after, a few at a
//! time on all cores.

use std::io::Write;

use bytes::{BufMut, Bytes};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use rayon::prelude::*;

use super::LARGEST_FILE;
use super::external::EXTERNAL;
use super::proto::{
    AttributeProto, Dimension, GRAPH, GraphProto, INITIALIZER, ModelProto, NODE, NodeProto, OperatorSetId,
    RAW_DATA, StringPair, TensorProto, TensorShape, TensorType, TypeProto, ValueInfoProto,
    attribute_type as kind,
};
use crate::{Attribute, DataType, Dim, Error, Graph, Model, Node, Tensor, ValueInfo};

/// Bytes of computed tensors that may wait to be written.
const IN_FLIGHT: usize = 24 << 20;

/// Writes a model with all its weights inside; the same model always gives the same bytes. Returns their number.
///
/// # Errors
/// [`Error::TooLarge`] over [`LARGEST_FILE`] bytes and [`Error::ExternalData`] when a tensor was never loaded, both
/// before anything is written; [`Error::BadTensor`] when a deferred tensor computes another number of bytes than it
/// announced; [`Error::Write`].
pub fn write(model: &Model, out: &mut dyn Write) -> Result<u64, Error> {
    require_loaded(&model.graph)?;
    write_referring(model, out)
}

/// As [`write()`], but a weight that was never loaded is written as a reference to the file where it lies.
///
/// # Errors
/// As [`write()`]; [`Error::ExternalData`] only for a tensor inside a node.
pub fn write_referring(model: &Model, out: &mut dyn Write) -> Result<u64, Error> {
    let frame = main_frame(model);
    let graph_len = graph_len(&model.graph, &frame)?;
    let header = header(model);
    let total = file_len(&header, graph_len);
    if total > LARGEST_FILE {
        return Err(Error::TooLarge { bytes: total });
    }
    emit(out, &header.encode_to_vec())?;
    emit(out, &prefix(GRAPH, graph_len))?;
    write_graph(&model.graph, &frame, out)?;
    Ok(total)
}

/// The number of bytes that [`write()`] gives, whether or not a file can hold them.
///
/// # Errors
/// [`Error::ExternalData`] when a tensor was never loaded.
pub fn encoded_len(model: &Model) -> Result<u64, Error> {
    require_loaded(&model.graph)?;
    Ok(file_len(&header(model), graph_len(&model.graph, &main_frame(model))?))
}

fn require_loaded(graph: &Graph) -> Result<(), Error> {
    graph.initializers.iter().try_for_each(|(name, tensor)| loaded(name, tensor))
}

fn loaded(name: &str, tensor: &Tensor) -> Result<(), Error> {
    match tensor.external() {
        None => Ok(()),
        Some(external) => Err(Error::ExternalData {
            tensor: name.to_owned(),
            location: external.location.clone(),
            reason: "it was not loaded".into(),
        }),
    }
}

fn file_len(header: &ModelProto, graph_len: u64) -> u64 {
    header.encoded_len() as u64 + prefix(GRAPH, graph_len).len() as u64 + graph_len
}

fn emit(out: &mut dyn Write, bytes: &[u8]) -> Result<(), Error> {
    out.write_all(bytes).map_err(Error::Write)
}

/// The key and the length that stand before a nested message.
fn prefix(tag: u32, len: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16);
    encode_key(tag, WireType::LengthDelimited, &mut bytes);
    encode_varint(len, &mut bytes);
    bytes
}

/// The length of a nested message with what stands before it.
fn framed_len(tag: u32, len: u64) -> u64 {
    key_len(tag) as u64 + encoded_len_varint(len) as u64 + len
}

fn graph_len(graph: &Graph, frame: &GraphProto) -> Result<u64, Error> {
    let mut total = frame.encoded_len() as u64;
    for node in &graph.nodes {
        total += framed_len(NODE, node_proto(node)?.encoded_len() as u64);
    }
    for (name, tensor) in &graph.initializers {
        total += framed_len(INITIALIZER, initializer_len(name, tensor));
    }
    Ok(total)
}

fn write_graph(graph: &Graph, frame: &GraphProto, out: &mut dyn Write) -> Result<(), Error> {
    for node in &graph.nodes {
        let encoded = node_proto(node)?.encode_to_vec();
        emit(out, &prefix(NODE, encoded.len() as u64))?;
        emit(out, &encoded)?;
    }
    let mut rest: Vec<(&String, &Tensor)> = graph.initializers.iter().collect();
    while !rest.is_empty() {
        let tail = rest.split_off(chunk_len(&rest));
        for ((name, tensor), bytes) in rest.iter().zip(computed(&rest)) {
            write_initializer(name, tensor, &bytes, out)?;
        }
        rest = tail;
    }
    emit(out, &frame.encode_to_vec())
}

/// How many of these tensors are computed together: as many as fit [`IN_FLIGHT`], at least one.
fn chunk_len(tensors: &[(&String, &Tensor)]) -> usize {
    let mut waiting = 0_usize;
    let fits = tensors.iter().take_while(|(_, tensor)| {
        waiting = waiting.saturating_add(if tensor.is_deferred() { tensor.byte_len() } else { 0 });
        waiting <= IN_FLIGHT
    });
    fits.count().max(1)
}

/// The bytes of each tensor; deferred ones are computed on all cores.
fn computed(tensors: &[(&String, &Tensor)]) -> Vec<Bytes> {
    if tensors.iter().any(|(_, tensor)| tensor.is_deferred()) {
        tensors.par_iter().map(|(_, tensor)| tensor.bytes()).collect()
    } else {
        tensors.iter().map(|(_, tensor)| tensor.bytes()).collect()
    }
}

fn initializer_len(name: &str, tensor: &Tensor) -> u64 {
    let described = described(name, tensor).encoded_len() as u64;
    if has_raw_data(tensor) { described + framed_len(RAW_DATA, tensor.byte_len() as u64) } else { described }
}

fn has_raw_data(tensor: &Tensor) -> bool {
    tensor.dtype() != DataType::String && tensor.external().is_none()
}

fn write_initializer(name: &str, tensor: &Tensor, bytes: &[u8], out: &mut dyn Write) -> Result<(), Error> {
    if has_raw_data(tensor) && bytes.len() != tensor.byte_len() {
        let reason = format!("{} bytes were announced, {} computed", tensor.byte_len(), bytes.len());
        return Err(Error::BadTensor { name: name.to_owned(), reason });
    }
    let mut head = prefix(INITIALIZER, initializer_len(name, tensor));
    described(name, tensor).encode(&mut head).map_err(|error| Error::Write(error.into()))?;
    if has_raw_data(tensor) {
        head.put_slice(&prefix(RAW_DATA, bytes.len() as u64));
    }
    emit(out, &head)?;
    emit(out, bytes)
}

/// A tensor's message without its `raw_data`; texts are in it, and where the data lies when it was never loaded.
fn described(name: &str, tensor: &Tensor) -> TensorProto {
    let pair = |key: &str, value: String| StringPair { key: Some(key.into()), value: Some(value) };
    let external = tensor.external();
    TensorProto {
        dims: tensor.shape().iter().map(|size| *size as i64).collect(),
        data_type: tensor.dtype().to_onnx(),
        string_data: tensor.as_strings().unwrap_or_default().to_vec(),
        name: name.to_owned(),
        external_data: external.map_or_else(Vec::new, |external| {
            vec![
                pair("location", external.location.clone()),
                pair("offset", external.offset.to_string()),
                pair("length", tensor.byte_len().to_string()),
            ]
        }),
        data_location: if external.is_some() { EXTERNAL } else { 0 },
        ..TensorProto::default()
    }
}

fn tensor_proto(name: &str, tensor: &Tensor) -> Result<TensorProto, Error> {
    loaded(name, tensor)?;
    let raw_data = (tensor.dtype() != DataType::String).then(|| tensor.bytes());
    Ok(TensorProto { raw_data, ..described(name, tensor) })
}

/// Everything of the model but its graph.
fn header(model: &Model) -> ModelProto {
    let opset = |(domain, version): (&String, &i64)| OperatorSetId {
        domain: Some(domain.clone()),
        version: Some(*version),
    };
    let pair =
        |(key, value): (&String, &String)| StringPair { key: Some(key.clone()), value: Some(value.clone()) };
    ModelProto {
        ir_version: Some(model.ir_version),
        producer_name: model.producer_name.clone(),
        producer_version: model.producer_version.clone(),
        domain: model.domain.clone(),
        model_version: model.model_version,
        doc_string: model.doc.clone(),
        graph: None,
        opset_import: model.opsets.iter().map(opset).collect(),
        metadata_props: model.metadata.iter().map(pair).collect(),
        training_info: numbered(&model.other, 20),
        functions: model.functions.clone(),
        configuration: numbered(&model.other, 26),
    }
}

/// Everything of the main graph but its nodes and initializers. Before IR version 4 initializers had to be inputs too.
fn main_frame(model: &Model) -> GraphProto {
    let mut frame = frame_of(&model.graph);
    if model.ir_version < 4 {
        let stated = |(name, tensor): (&String, &Tensor)| {
            let shape = tensor.shape().iter().map(|size| Dim::Fixed(*size)).collect();
            value_info(&ValueInfo::tensor(name, tensor.dtype(), shape))
        };
        frame.input.extend(model.graph.initializers.iter().map(stated));
    }
    frame
}

/// Everything of a graph but its nodes and initializers.
fn frame_of(graph: &Graph) -> GraphProto {
    GraphProto {
        name: graph.name.clone(),
        doc_string: graph.doc.clone(),
        input: graph.inputs.iter().map(value_info).collect(),
        output: graph.outputs.iter().map(value_info).collect(),
        value_info: graph.values.values().map(value_info).collect(),
        quantization_annotation: numbered(&graph.other, 14),
        sparse_initializer: numbered(&graph.other, 15),
        metadata_props: numbered(&graph.other, 16),
        ..GraphProto::default()
    }
}

fn graph_proto(graph: &Graph) -> Result<GraphProto, Error> {
    let mut proto = frame_of(graph);
    proto.node = graph.nodes.iter().map(node_proto).collect::<Result<_, _>>()?;
    proto.initializer = graph
        .initializers
        .iter()
        .map(|(name, tensor)| tensor_proto(name, tensor))
        .collect::<Result<_, _>>()?;
    Ok(proto)
}

/// The encoded parts with this field number.
fn numbered(parts: &[(u32, Bytes)], number: u32) -> Vec<Bytes> {
    parts.iter().filter(|part| part.0 == number).map(|part| part.1.clone()).collect()
}

fn node_proto(node: &Node) -> Result<NodeProto, Error> {
    Ok(NodeProto {
        input: node.inputs.clone(),
        output: node.outputs.clone(),
        name: node.name.clone(),
        op_type: node.op_type.clone(),
        attribute: node
            .attributes
            .iter()
            .map(|(name, value)| attribute_proto(name, value))
            .collect::<Result<_, _>>()?,
        doc_string: node.doc.clone(),
        domain: node.domain.clone(),
        overload: numbered(&node.other, 8),
        metadata_props: numbered(&node.other, 9),
        device_configurations: numbered(&node.other, 10),
    })
}

fn attribute_proto(name: &str, value: &Attribute) -> Result<AttributeProto, Error> {
    let mut proto = AttributeProto { name: name.to_owned(), ..AttributeProto::default() };
    let stated = match value {
        Attribute::Float(value) => {
            proto.f = Some(*value);
            kind::FLOAT
        }
        Attribute::Int(value) => {
            proto.i = Some(*value);
            kind::INT
        }
        Attribute::String(value) => {
            proto.s = Some(value.clone());
            kind::STRING
        }
        Attribute::Tensor(tensor) => {
            proto.t = Some(Box::new(tensor_proto("", tensor)?));
            kind::TENSOR
        }
        Attribute::Graph(graph) => {
            proto.g = Some(Box::new(graph_proto(graph)?));
            kind::GRAPH
        }
        Attribute::Floats(values) => {
            proto.floats.clone_from(values);
            kind::FLOATS
        }
        Attribute::Ints(values) => {
            proto.ints.clone_from(values);
            kind::INTS
        }
        Attribute::Strings(values) => {
            proto.strings.clone_from(values);
            kind::STRINGS
        }
        Attribute::Tensors(tensors) => {
            proto.tensors =
                tensors.iter().map(|tensor| tensor_proto("", tensor)).collect::<Result<_, _>>()?;
            kind::TENSORS
        }
        Attribute::Graphs(graphs) => {
            proto.graphs = graphs.iter().map(graph_proto).collect::<Result<_, _>>()?;
            kind::GRAPHS
        }
        Attribute::Other(encoded) => {
            return AttributeProto::decode(encoded.clone())
                .map(|kept| AttributeProto { name: name.to_owned(), ..kept })
                .map_err(|error| Error::Invalid(format!("attribute `{name}`: {error}")));
        }
    };
    proto.r#type = Some(stated);
    Ok(proto)
}

fn value_info(info: &ValueInfo) -> ValueInfoProto {
    let kept = numbered(&info.other, 2).into_iter().next().filter(|_| info.dtype.is_none());
    let stated = info.dtype.is_some() || info.shape.is_some();
    let dim = |dim: &Dim| match dim {
        Dim::Fixed(size) => Dimension { dim_value: Some(*size as i64), dim_param: None },
        Dim::Symbol(name) => Dimension { dim_value: None, dim_param: Some(name.clone()) },
        Dim::Unknown => Dimension::default(),
    };
    let tensor_type = || TensorType {
        elem_type: info.dtype.map_or(0, DataType::to_onnx),
        shape: info.shape.as_ref().map(|shape| TensorShape { dim: shape.iter().map(dim).collect() }),
    };
    let encoded = || TypeProto { tensor_type: Some(tensor_type()) }.encode_to_vec().into();
    ValueInfoProto {
        name: info.name.clone(),
        r#type: kept.or_else(|| stated.then(encoded)),
        doc_string: numbered(&info.other, 3).into_iter().next(),
        metadata_props: numbered(&info.other, 4),
    }
}

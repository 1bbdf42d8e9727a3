//! From the messages of the container to a [`Model`].
//!
//! Foreign bytes: sizes are checked before anything is allocated for them, and the depth of nested subgraphs is bound
//! by the decoder's recursion limit.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use indexmap::IndexMap;
use prost::Message;

use super::external::{EXTERNAL, Files, Resolver, external_of};
use super::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, StringPair, TensorProto, TypeProto, ValueInfoProto,
    attribute_type as kind,
};
use super::tensor::tensor;
use crate::{Attribute, DataType, Dim, Error, Graph, Model, Node, Tensor, ValueInfo};

/// Reads a model. `external` gives the content of a file named inside it, or says why not; names that lead out of the
/// model's folder never reach it ([`super::check_location`]).
///
/// # Errors
/// [`Error::NotOnnx`] when the bytes are no model, [`Error::BadTensor`] when a tensor's data do not fit its shape,
/// [`Error::ExternalData`] when external data cannot be had, [`Error::Invalid`] when names collide.
pub fn read(bytes: Bytes, external: &dyn Fn(&str) -> Result<Bytes, String>) -> Result<Model, Error> {
    read_with(bytes, Some(external))
}

/// Reads a model without opening external files: their tensors stay unresolved ([`Tensor::external`]).
///
/// # Errors
/// As [`read`].
pub fn read_structure(bytes: Bytes) -> Result<Model, Error> {
    read_with(bytes, None)
}

/// The external files that a model names, sorted.
///
/// # Errors
/// [`Error::NotOnnx`] when the bytes are no model, [`Error::ExternalData`] when a name leads out of the model's folder.
pub fn external_locations(bytes: Bytes) -> Result<Vec<String>, Error> {
    let mut found = BTreeSet::new();
    collect_locations(&decode(bytes)?.graph.unwrap_or_default(), &mut found)?;
    Ok(found.into_iter().collect())
}

fn collect_locations(graph: &GraphProto, found: &mut BTreeSet<String>) -> Result<(), Error> {
    let attributes = || graph.node.iter().flat_map(|node| &node.attribute);
    let in_attributes =
        attributes().flat_map(|attribute| attribute.t.as_deref().into_iter().chain(&attribute.tensors));
    for tensor in graph.initializer.iter().chain(in_attributes) {
        if tensor.data_location == EXTERNAL {
            found.insert(external_of(tensor)?.location);
        }
    }
    attributes()
        .flat_map(|attribute| attribute.g.as_deref().into_iter().chain(&attribute.graphs))
        .try_for_each(|graph| collect_locations(graph, found))
}

fn decode(bytes: Bytes) -> Result<ModelProto, Error> {
    let model = ModelProto::decode(bytes).map_err(|error| Error::NotOnnx { reason: error.to_string() })?;
    if model.graph.is_none() {
        return Err(Error::NotOnnx { reason: "it holds no graph".into() });
    }
    Ok(model)
}

fn read_with(bytes: Bytes, resolver: Option<&Resolver<'_>>) -> Result<Model, Error> {
    let proto = decode(bytes)?;
    let mut files = Files::new(resolver);
    let mut opsets = BTreeMap::new();
    for import in proto.opset_import {
        let (domain, version) = (import.domain.unwrap_or_default(), import.version.unwrap_or(0));
        if opsets.get(&domain).is_some_and(|other| *other != version) {
            return Err(Error::Invalid(format!("two operator sets for domain `{domain}`")));
        }
        opsets.insert(domain, version);
    }
    let other = [(20, proto.training_info), (26, proto.configuration)];
    Ok(Model {
        ir_version: proto.ir_version.unwrap_or(0),
        producer_name: proto.producer_name,
        producer_version: proto.producer_version,
        domain: proto.domain,
        model_version: proto.model_version,
        doc: proto.doc_string,
        opsets,
        metadata: proto.metadata_props.into_iter().map(pair).collect(),
        graph: graph(proto.graph.unwrap_or_default(), &mut files)?,
        functions: proto.functions,
        other: numbered(other),
    })
}

fn pair(pair: StringPair) -> (String, String) {
    (pair.key.unwrap_or_default(), pair.value.unwrap_or_default())
}

/// Encoded parts with their field numbers.
fn numbered<const N: usize>(parts: [(u32, Vec<Bytes>); N]) -> Vec<(u32, Bytes)> {
    parts.into_iter().flat_map(|(number, parts)| parts.into_iter().map(move |part| (number, part))).collect()
}

fn graph(proto: GraphProto, files: &mut Files<'_>) -> Result<Graph, Error> {
    let mut initializers = IndexMap::with_capacity(proto.initializer.len());
    for mut initializer in proto.initializer {
        let name = std::mem::take(&mut initializer.name);
        initializer.name.clone_from(&name);
        if name.is_empty() {
            return Err(Error::Invalid(format!("an initializer of graph `{}` has no name", proto.name)));
        }
        if initializers.insert(name.clone(), tensor(initializer, files)?).is_some() {
            return Err(Error::Invalid(format!("two initializers are called `{name}`")));
        }
    }
    let inputs = proto.input.into_iter().filter(|input| !initializers.contains_key(&input.name));
    let inputs = inputs.map(value_info).collect::<Result<_, _>>()?;
    let other =
        [(14, proto.quantization_annotation), (15, proto.sparse_initializer), (16, proto.metadata_props)];
    Ok(Graph {
        name: proto.name,
        doc: proto.doc_string,
        inputs,
        outputs: proto.output.into_iter().map(value_info).collect::<Result<_, _>>()?,
        nodes: proto.node.into_iter().map(|proto| node(proto, files)).collect::<Result<_, _>>()?,
        initializers,
        values: proto
            .value_info
            .into_iter()
            .map(|proto| Ok((proto.name.clone(), value_info(proto)?)))
            .collect::<Result<_, Error>>()?,
        other: numbered(other),
    })
}

fn node(proto: NodeProto, files: &mut Files<'_>) -> Result<Node, Error> {
    let mut attributes = BTreeMap::new();
    for attribute in proto.attribute {
        let key = attribute.name.clone();
        let value = attribute_value(attribute, files)?;
        if attributes.insert(key.clone(), value).is_some() {
            return Err(Error::BadNode {
                node: proto.name,
                op: proto.op_type,
                reason: format!("attribute `{key}` is given twice"),
            });
        }
    }
    let other = [(8, proto.overload), (9, proto.metadata_props), (10, proto.device_configurations)];
    Ok(Node {
        name: proto.name,
        op_type: proto.op_type,
        domain: proto.domain,
        inputs: proto.input,
        outputs: proto.output,
        attributes,
        doc: proto.doc_string,
        other: numbered(other),
    })
}

fn attribute_value(proto: AttributeProto, files: &mut Files<'_>) -> Result<Attribute, Error> {
    let tensors = |protos: Vec<TensorProto>, files: &mut Files<'_>| {
        protos.into_iter().map(|proto| tensor(proto, files)).collect::<Result<Vec<Tensor>, Error>>()
    };
    // A reference to an attribute of the surrounding function has no value of its own.
    let declared = if proto.ref_attr_name.is_empty() { declared_type(&proto) } else { 0 };
    Ok(match declared {
        kind::FLOAT => Attribute::Float(proto.f.unwrap_or(0.0)),
        kind::INT => Attribute::Int(proto.i.unwrap_or(0)),
        kind::STRING => Attribute::String(proto.s.unwrap_or_default()),
        kind::TENSOR => Attribute::Tensor(tensor(*proto.t.unwrap_or_default(), files)?),
        kind::GRAPH => Attribute::Graph(Box::new(graph(*proto.g.unwrap_or_default(), files)?)),
        kind::FLOATS => Attribute::Floats(proto.floats),
        kind::INTS => Attribute::Ints(proto.ints),
        kind::STRINGS => Attribute::Strings(proto.strings),
        kind::TENSORS => Attribute::Tensors(tensors(proto.tensors, files)?),
        kind::GRAPHS => Attribute::Graphs(
            proto.graphs.into_iter().map(|proto| graph(proto, files)).collect::<Result<_, _>>()?,
        ),
        _ => Attribute::Other(proto.encode_to_vec().into()),
    })
}

/// The type that an attribute states, or, in files older than IR version 2, the one that its content shows.
fn declared_type(proto: &AttributeProto) -> i32 {
    let shown = [
        (proto.f.is_some(), kind::FLOAT),
        (proto.i.is_some(), kind::INT),
        (proto.s.is_some(), kind::STRING),
        (proto.t.is_some(), kind::TENSOR),
        (proto.g.is_some(), kind::GRAPH),
        (!proto.floats.is_empty(), kind::FLOATS),
        (!proto.ints.is_empty(), kind::INTS),
        (!proto.strings.is_empty(), kind::STRINGS),
        (!proto.tensors.is_empty(), kind::TENSORS),
        (!proto.graphs.is_empty(), kind::GRAPHS),
    ];
    match proto.r#type {
        Some(stated) if stated != 0 => stated,
        _ => shown.into_iter().find(|(present, _)| *present).map_or(0, |(_, kind)| kind),
    }
}

fn value_info(proto: ValueInfoProto) -> Result<ValueInfo, Error> {
    let mut info = ValueInfo { name: proto.name, ..ValueInfo::default() };
    if let Some(encoded) = proto.r#type {
        let decoded = TypeProto::decode(encoded.clone())
            .map_err(|error| Error::NotOnnx { reason: format!("the type of `{}`: {error}", info.name) })?;
        match decoded.tensor_type {
            Some(tensor) => {
                info.dtype = DataType::from_onnx(tensor.elem_type);
                info.shape = tensor.shape.map(|shape| {
                    shape.dim.into_iter().map(|dim| dimension(dim.dim_value, dim.dim_param)).collect()
                });
                if info.dtype.is_none() && (tensor.elem_type != 0 || info.shape.is_none()) {
                    info.other.push((2, encoded));
                }
            }
            None => info.other.push((2, encoded)),
        }
    }
    info.other.extend(proto.doc_string.into_iter().map(|text| (3, text)));
    info.other.extend(proto.metadata_props.into_iter().map(|part| (4, part)));
    Ok(info)
}

fn dimension(value: Option<i64>, symbol: Option<String>) -> Dim {
    match (value.map(usize::try_from), symbol) {
        (Some(Ok(size)), _) => Dim::Fixed(size),
        (_, Some(symbol)) if !symbol.is_empty() => Dim::Symbol(symbol),
        _ => Dim::Unknown,
    }
}

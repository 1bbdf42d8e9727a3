//! Building a graph node by node, with types and shapes tracked on the way.
//!
//! Exporters read like the module that they export: every method returns a [`Value`], never a `Result`. The first node
//! that does not fit is remembered and [`Builder::finish`] returns it, with the node's name and the shapes that it saw.
//! Sizes are fixed except for symbols (`batch`); a dimension may be a multiple of a symbol (`8*batch`).

mod extent;
mod layout;
mod math;
mod operator;
mod outputs;
mod vision;

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use crate::{Attribute, DataType, Dim, Error, Graph, Model, Node, Tensor, ValueInfo};
use extent::Extent;

pub use vision::{Conv, Interpolation, Pool};

/// A value in the graph under construction.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    name: String,
    dtype: DataType,
    shape: Vec<Dim>,
}

impl Value {
    /// The value's name in the graph.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The element type.
    pub fn dtype(&self) -> DataType {
        self.dtype
    }

    /// The dimensions.
    pub fn shape(&self) -> &[Dim] {
        &self.shape
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The size of dimension `axis` counted from the front, or from the back when negative; 0 when it is not a number
    /// (the node that uses it then fails with the shapes that it saw).
    pub fn size(&self, axis: i64) -> usize {
        self.axis(axis).and_then(|axis| self.shape[axis].fixed()).unwrap_or(0)
    }

    fn axis(&self, axis: i64) -> Option<usize> {
        let rank = i64::try_from(self.rank()).ok()?;
        let axis = if axis < 0 { axis + rank } else { axis };
        usize::try_from(axis).ok().filter(|axis| *axis < self.rank())
    }

    fn extents(&self) -> Vec<Extent> {
        self.shape.iter().map(Extent::from).collect()
    }
}

/// Makes one graph. See the module's documentation.
#[derive(Debug)]
pub struct Builder {
    graph: Graph,
    opset: i64,
    scope: Vec<String>,
    taken: HashMap<String, usize>,
    constants: HashMap<(DataType, Vec<usize>, Bytes), Value>,
    /// The outputs of the nodes so far, by operator, inputs and attributes.
    computed: HashMap<String, Vec<Value>>,
    outputs: Vec<(String, Value)>,
    /// Operator sets besides ONNX's own.
    domains: BTreeMap<String, i64>,
    failure: Option<Error>,
}

impl Builder {
    /// The oldest and the newest operator set that this builder writes.
    pub const OPSETS: std::ops::RangeInclusive<i64> = 16..=22;

    /// A builder for a graph of this name. `opset` must lie in [`Builder::OPSETS`], or `finish` says so.
    pub fn new(name: &str, opset: i64) -> Self {
        let failure = (!Self::OPSETS.contains(&opset))
            .then(|| Error::Invalid(format!("opset {opset} is not one of {:?}", Self::OPSETS)));
        Self {
            graph: Graph { name: name.to_owned(), ..Graph::default() },
            opset,
            scope: Vec::new(),
            taken: HashMap::new(),
            constants: HashMap::new(),
            computed: HashMap::new(),
            outputs: Vec::new(),
            domains: BTreeMap::new(),
            failure,
        }
    }

    /// The operator set that the graph is written for.
    pub fn opset(&self) -> i64 {
        self.opset
    }

    /// Runs `build` with `name` added to the path that node names start with.
    pub fn scoped<T>(&mut self, name: impl Into<String>, build: impl FnOnce(&mut Self) -> T) -> T {
        self.scope.push(name.into());
        let result = build(self);
        self.scope.pop();
        result
    }

    /// Declares what is fed.
    pub fn input(&mut self, name: &str, dtype: DataType, shape: Vec<Dim>) -> Value {
        self.reserve(name);
        self.graph.inputs.push(ValueInfo::tensor(name, dtype, shape.clone()));
        Value { name: name.to_owned(), dtype, shape }
    }

    /// Declares that `value` comes out under `name`. The value stays usable; its final name is settled by
    /// [`Builder::finish`].
    pub fn output(&mut self, name: &str, value: &Value) {
        self.reserve(name);
        self.outputs.push((name.to_owned(), value.clone()));
    }

    /// Takes `name` for an input or an output, which are never renamed.
    fn reserve(&mut self, name: &str) {
        if self.taken.insert(name.to_owned(), 0).is_some() && self.failure.is_none() {
            self.failure = Some(Error::Invalid(format!("the name `{name}` is taken")));
        }
    }

    /// A constant under a name of its own: a weight.
    pub fn weight(&mut self, name: &str, tensor: Tensor) -> Value {
        let name = self.unique(name);
        let value = Value {
            name: name.clone(),
            dtype: tensor.dtype(),
            shape: tensor.shape().iter().map(|size| Dim::Fixed(*size)).collect(),
        };
        self.graph.initializers.insert(name, tensor);
        value
    }

    /// A small constant; the same constant is stored once.
    pub fn constant(&mut self, tensor: Tensor) -> Value {
        let key = (tensor.dtype(), tensor.shape().to_vec(), tensor.bytes());
        if let Some(value) = self.constants.get(&key) {
            return value.clone();
        }
        let value = self.weight("constant", tensor);
        self.constants.insert(key, value.clone());
        value
    }

    /// A `float32` scalar.
    pub fn scalar(&mut self, value: f32) -> Value {
        self.constant_of(Tensor::from_f32(Vec::new(), vec![value]))
    }

    /// A `float32` constant of this shape.
    pub fn floats(&mut self, shape: &[usize], values: Vec<f32>) -> Value {
        self.constant_of(Tensor::from_f32(shape, values))
    }

    /// An `int64` vector.
    pub fn ints(&mut self, values: &[i64]) -> Value {
        self.constant_of(Tensor::from_i64([values.len()], values.to_vec()))
    }

    /// An `int64` constant of this shape.
    pub fn integers(&mut self, shape: &[usize], values: Vec<i64>) -> Value {
        self.constant_of(Tensor::from_i64(shape, values))
    }

    /// The finished model: header, graph, types and shapes of all values. What no output depends on is left out,
    /// weights included.
    ///
    /// # Errors
    /// The first node that did not fit, or a rule of [`Model::check`] that the graph breaks.
    pub fn finish(self, producer: &str, version: &str) -> Result<Model, Error> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let mut opsets = self.domains;
        opsets.insert(String::new(), self.opset);
        let model = Model {
            ir_version: lowest_ir_version(self.opset),
            producer_name: producer.to_owned(),
            producer_version: version.to_owned(),
            opsets,
            graph: outputs::settled(self.graph, self.outputs),
            ..Model::default()
        };
        model.check()?;
        Ok(model)
    }

    /// Remembers that what is being built cannot be, with the scope as its place. Later calls change nothing.
    pub fn fail(&mut self, op: &str, reason: impl Into<String>) {
        if self.failure.is_none() {
            let node = format!("/{}", self.scope.join("/"));
            self.failure = Some(Error::BadNode { node, op: op.to_owned(), reason: reason.into() });
        }
    }

    /// Adds a node with one output of the first input's type and shape.
    fn node<'a>(
        &mut self,
        op: &str,
        inputs: &[&Value],
        attributes: impl IntoIterator<Item = (&'a str, Attribute)>,
    ) -> Value {
        let (dtype, shape) =
            inputs.first().map_or((DataType::F32, Vec::new()), |value| (value.dtype, value.shape.clone()));
        self.node_of(op, inputs, attributes, dtype, shape)
    }

    /// Adds a node with one output of this type and shape.
    fn node_of<'a>(
        &mut self,
        op: &str,
        inputs: &[&Value],
        attributes: impl IntoIterator<Item = (&'a str, Attribute)>,
        dtype: DataType,
        shape: Vec<Dim>,
    ) -> Value {
        let mut outputs = self.nodes_of(op, inputs, attributes, vec![(dtype, shape)]);
        outputs.remove(0)
    }

    /// Adds a node with outputs of these types and shapes; a node that computes the same is there once.
    fn nodes_of<'a>(
        &mut self,
        op: &str,
        inputs: &[&Value],
        attributes: impl IntoIterator<Item = (&'a str, Attribute)>,
        outputs: Vec<(DataType, Vec<Dim>)>,
    ) -> Vec<Value> {
        self.nodes_in("", op, inputs, attributes, outputs)
    }

    /// As [`Builder::nodes_of`], of another domain.
    fn nodes_in<'a>(
        &mut self,
        domain: &str,
        op: &str,
        inputs: &[&Value],
        attributes: impl IntoIterator<Item = (&'a str, Attribute)>,
        outputs: Vec<(DataType, Vec<Dim>)>,
    ) -> Vec<Value> {
        let attributes: BTreeMap<String, Attribute> =
            attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let names: Vec<&str> = inputs.iter().map(|value| value.name.as_str()).collect();
        let key = format!("{domain} {op} {names:?} {attributes:?}");
        if let Some(values) = self.computed.get(&key) {
            return values.clone();
        }
        let mut path = self.scope.join("/");
        if !path.is_empty() {
            path.insert(0, '/');
        }
        let name = self.unique(&format!("{path}/{op}"));
        let single = outputs.len() == 1;
        let values: Vec<Value> = outputs
            .into_iter()
            .enumerate()
            .map(|(index, (dtype, shape))| Value {
                name: if single { format!("{name}_output") } else { format!("{name}_output_{index}") },
                dtype,
                shape,
            })
            .collect();
        for value in &values {
            let info = ValueInfo::tensor(&value.name, value.dtype, value.shape.clone());
            self.graph.values.insert(value.name.clone(), info);
        }
        self.graph.nodes.push(Node {
            name,
            op_type: op.to_owned(),
            domain: domain.to_owned(),
            inputs: inputs.iter().map(|value| value.name.clone()).collect(),
            outputs: values.iter().map(|value| value.name.clone()).collect(),
            attributes,
            ..Node::default()
        });
        self.computed.insert(key, values.clone());
        values
    }

    fn constant_of(&mut self, tensor: Result<Tensor, Error>) -> Value {
        match tensor {
            Ok(tensor) => self.constant(tensor),
            Err(error) => {
                self.fail("Constant", error.to_string());
                Value { name: String::new(), dtype: DataType::F32, shape: Vec::new() }
            }
        }
    }

    fn unique(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        while self.taken.contains_key(&name) {
            let count = self.taken.entry(wanted.to_owned()).or_insert(0);
            *count += 1;
            name = format!("{wanted}_{count}");
        }
        self.taken.insert(name.clone(), 0);
        name
    }
}

/// The lowest container version that an operator set allows (formats of the ONNX releases), at least 8: runtimes refuse
/// newer containers before they look at an operator.
pub fn lowest_ir_version(opset: i64) -> i64 {
    match opset {
        ..=18 => 8,
        19..=20 => 9,
        21..=22 => 10,
        _ => 11,
    }
}

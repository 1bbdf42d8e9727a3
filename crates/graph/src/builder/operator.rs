//! Operators that have no method of their own: sizes known at run time, suppression, plug-ins.
//!
//! Here the caller states type and shape of what comes out; nothing is derived.

use super::{Builder, Value};
use crate::{Attribute, DataType, Dim};

impl Builder {
    /// A node of any of ONNX's own operators with one output, whose type and shape the caller states.
    pub fn operator<'a>(
        &mut self,
        op: &str,
        inputs: &[&Value],
        attributes: impl IntoIterator<Item = (&'a str, Attribute)>,
        dtype: DataType,
        shape: Vec<Dim>,
    ) -> Value {
        self.node_of(op, inputs, attributes, dtype, shape)
    }

    /// A node of another domain's operator, with outputs whose types and shapes the caller states. The domain is imported
    /// in this version.
    pub fn foreign<'a>(
        &mut self,
        (domain, version): (&str, i64),
        op: &str,
        inputs: &[&Value],
        attributes: impl IntoIterator<Item = (&'a str, Attribute)>,
        outputs: Vec<(DataType, Vec<Dim>)>,
    ) -> Vec<Value> {
        self.domains.insert(domain.to_owned(), version);
        self.nodes_in(domain, op, inputs, attributes, outputs)
    }

    /// The sizes of `x`, `int64`.
    pub fn shape_of(&mut self, x: &Value) -> Value {
        self.node_of("Shape", &[x], [], DataType::I64, vec![Dim::Fixed(x.rank())])
    }

    /// The whole numbers `0..count` of the type of the scalar `count`, as many as `length` says.
    pub fn range(&mut self, count: &Value, length: Dim) -> Value {
        let whole = matches!(count.dtype, DataType::I32 | DataType::I64);
        if !count.shape.is_empty() || !whole {
            return self.mismatch("Range", &[count]);
        }
        let [zero, one] = [0, 1].map(|number| self.whole(number, count.dtype));
        self.node_of("Range", &[&zero, count, &one], [], count.dtype, vec![length])
    }

    /// A whole number of this type.
    pub fn whole(&mut self, value: i32, dtype: DataType) -> Value {
        let tensor = if dtype == DataType::I32 {
            crate::Tensor::from_i32(Vec::new(), vec![value])
        } else {
            crate::Tensor::from_i64(Vec::new(), vec![i64::from(value)])
        };
        self.constant_of(tensor)
    }

    /// Where two values are equal, broadcast.
    pub fn equal(&mut self, a: &Value, b: &Value) -> Value {
        self.elementwise("Equal", a, b, DataType::Bool)
    }

    /// Where the largest value along `axis` lies (`int64`), the first of equal ones; the axis goes.
    pub fn arg_max(&mut self, x: &Value, axis: i64) -> Value {
        let Some(position) = x.axis(axis) else {
            return self.mismatch("ArgMax", &[x]);
        };
        let mut shape = x.shape.clone();
        shape.remove(position);
        let attributes = [("axis", Attribute::Int(axis)), ("keepdims", Attribute::Int(0))];
        self.node_of("ArgMax", &[x], attributes, DataType::I64, shape)
    }

    /// Another shape for the same elements, with sizes that only the run knows: `0` keeps the dimension at that place, `-1`
    /// once is what remains. `shape` says what becomes of it.
    pub fn reshape_to(&mut self, x: &Value, sizes: &[i64], shape: Vec<Dim>) -> Value {
        if sizes.len() != shape.len() {
            return self.mismatch("Reshape", &[x]);
        }
        let sizes = self.ints(sizes);
        self.node_of("Reshape", &[x, &sizes], [], x.dtype, shape)
    }

    /// `x` with its dimensions of size 1 repeated to the sizes in `sizes` (`int64`), which give `shape`.
    pub fn expand(&mut self, x: &Value, sizes: &Value, shape: Vec<Dim>) -> Value {
        self.node_of("Expand", &[x, sizes], [], x.dtype, shape)
    }
}

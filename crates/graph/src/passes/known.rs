//! What a pass may rely on: types, shapes and small integer values that hold for every input that the graph takes.

use std::collections::HashMap;

use rten_shape_inference::{SymExpr, SymTensor};

use crate::{DataType, Model, Tensor};

/// The facts on the values of a model's main graph.
pub(super) struct Known {
    values: HashMap<String, SymTensor>,
    dtypes: HashMap<String, DataType>,
}

impl Known {
    pub(super) fn of(model: &Model) -> Self {
        Self { values: crate::shapes::symbolic(model), dtypes: super::element_types::of(&model.graph) }
    }

    pub(super) fn dtype(&self, name: &str) -> Option<DataType> {
        self.dtypes.get(name).copied()
    }

    pub(super) fn rank(&self, name: &str) -> Option<usize> {
        self.values.get(name)?.ndim()
    }

    /// The sizes, numbers or not.
    pub(super) fn shape(&self, name: &str) -> Option<Vec<SymExpr>> {
        Some(self.values.get(name)?.shape()?.collect())
    }

    /// The sizes, when every one is a number.
    pub(super) fn fixed_shape(&self, name: &str) -> Option<Vec<usize>> {
        self.shape(name)?
            .into_iter()
            .map(|size| number(&size))
            .map(|size| usize::try_from(size?).ok())
            .collect()
    }

    /// The elements of a short vector (or scalar) of integers, numbers or not.
    pub(super) fn elements(&self, name: &str) -> Option<&[SymExpr]> {
        self.values.get(name)?.values()
    }

    /// A vector or scalar of integers as a constant, when every element is a number whatever the input.
    pub(super) fn constant(&self, name: &str) -> Option<Tensor> {
        let value = self.values.get(name)?;
        let numbers: Vec<i64> = value.values()?.iter().map(number).collect::<Option<_>>()?;
        let shape = match value.ndim()? {
            0 => vec![],
            1 => vec![numbers.len()],
            _ => return None,
        };
        match self.dtype(name)? {
            DataType::I64 => Tensor::from_i64(shape, numbers).ok(),
            DataType::I32 => {
                let narrow: Option<Vec<i32>> =
                    numbers.iter().map(|value| i32::try_from(*value).ok()).collect();
                Tensor::from_i32(shape, narrow?).ok()
            }
            _ => None,
        }
    }
}

/// The number that an expression is. The ends of the range stand for larger numbers that were cut and are no facts.
pub(super) fn number(expression: &SymExpr) -> Option<i64> {
    match expression {
        SymExpr::Value(value) if value.unsigned_abs() < i32::MAX.unsigned_abs() => Some(i64::from(*value)),
        _ => None,
    }
}

//! Weights as ONNX wants them: widened to `float32`, transposed, rescaled, and only computed while they are written.
//!
//! A `float32` weight that needs no change is passed on as it lies in the checkpoint.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use graph::{DataType, Tensor};

/// The values of a floating-point tensor, borrowed where they are `float32` already.
pub(crate) fn floats(tensor: &Tensor) -> Cow<'_, [f32]> {
    let values = match tensor.dtype() {
        DataType::F32 => tensor.as_f32(),
        _ => tensor.to_f32().map(Cow::Owned),
    };
    values.expect("`Weights` hands out floating-point tensors only")
}

/// A `float32` tensor of this shape whose values are computed when they are asked for.
pub(crate) fn deferred_floats(
    shape: &[usize],
    values: impl Fn() -> Vec<f32> + Send + Sync + 'static,
) -> Tensor {
    Tensor::deferred(DataType::F32, shape, move || bytes_of(values()))
}

fn bytes_of(values: Vec<f32>) -> Bytes {
    let shape = [values.len()];
    Tensor::from_f32(shape, values).map(|tensor| tensor.bytes()).expect("a vector is as long as it is")
}

/// The tensor as `float32`.
pub(crate) fn widened(tensor: Tensor) -> Tensor {
    if tensor.dtype() == DataType::F32 {
        return tensor;
    }
    let shape = tensor.shape().to_vec();
    deferred_floats(&shape, move || floats(&tensor).into_owned())
}

/// A factor for each row of a matrix, or for all of them.
#[derive(Debug, Clone)]
pub(crate) struct RowScale(Arc<[f32]>);

impl RowScale {
    pub(crate) fn all(factor: f32) -> Self {
        Self(Arc::new([factor]))
    }

    pub(crate) fn each(factors: Vec<f32>) -> Self {
        Self(factors.into())
    }

    fn of(&self, row: usize) -> f32 {
        if self.0.len() == 1 { self.0[0] } else { self.0.get(row).copied().unwrap_or(1.0) }
    }
}

/// Tensors one after the other along their first dimension, as one of this shape.
pub(crate) fn joined_rows(mut tensors: Vec<Tensor>, shape: &[usize]) -> Tensor {
    if tensors.len() == 1 {
        return tensors.remove(0);
    }
    deferred_floats(shape, move || tensors.iter().flat_map(|tensor| floats(tensor).into_owned()).collect())
}

/// The rows `start..start + count` of a tensor's first dimension.
pub(crate) fn rows_of(tensor: &Tensor, start: usize, count: usize) -> Tensor {
    let mut shape = tensor.shape().to_vec();
    let width: usize = shape.iter().skip(1).product();
    if let Some(rows) = shape.first_mut() {
        *rows = count;
    }
    let tensor = tensor.clone();
    deferred_floats(&shape, move || floats(&tensor)[start * width..][..count * width].to_vec())
}

/// Side of the squares in which a matrix is turned, so that reads and writes both stay in the cache.
const TILE: usize = 32;

/// A matrix `[out, in]` as `[in, out]`, its rows rescaled.
pub(crate) fn transposed(matrix: Tensor, scale: Option<RowScale>) -> Tensor {
    let [rows, columns] = *matrix.shape() else { return matrix };
    deferred_floats(&[columns, rows], move || {
        let values = floats(&matrix);
        let mut out = vec![0.0; values.len()];
        for top in (0..rows).step_by(TILE) {
            for left in (0..columns).step_by(TILE) {
                for row in top..rows.min(top + TILE) {
                    let factor = scale.as_ref().map_or(1.0, |scale| scale.of(row));
                    for column in left..columns.min(left + TILE) {
                        out[column * rows + row] = values[row * columns + column] * factor;
                    }
                }
            }
        }
        out
    })
}

/// The sum of two tensors, the second repeated along the first dimensions of the first.
pub(crate) fn sum_of(large: Tensor, small: Tensor) -> Tensor {
    let shape = large.shape().to_vec();
    deferred_floats(&shape, move || {
        let small = floats(&small);
        floats(&large).iter().zip(small.iter().cycle()).map(|(a, b)| a + b).collect()
    })
}

/// A vector whose elements are rescaled.
pub(crate) fn rescaled(vector: Tensor, scale: Option<RowScale>) -> Tensor {
    let Some(scale) = scale else { return widened(vector) };
    let shape = vector.shape().to_vec();
    deferred_floats(&shape, move || {
        floats(&vector).iter().enumerate().map(|(row, value)| value * scale.of(row)).collect()
    })
}

/// Matrices `[out, in]`, each with a factor, turned and side by side: `[in, sum of out]`.
pub(crate) fn beside(matrices: Vec<(Tensor, f32)>) -> Tensor {
    let columns: usize = matrices.iter().map(|(matrix, _)| matrix.shape()[0]).sum();
    let rows = matrices.first().map_or(0, |(matrix, _)| matrix.shape()[1]);
    deferred_floats(&[rows, columns], move || {
        let mut out = vec![0.0; rows * columns];
        let mut start = 0;
        for (matrix, factor) in &matrices {
            let width = matrix.shape()[0];
            let turned = transposed(matrix.clone(), Some(RowScale::all(*factor)));
            for (target, source) in out.chunks_exact_mut(columns).zip(floats(&turned).chunks_exact(width)) {
                target[start..start + width].copy_from_slice(source);
            }
            start += width;
        }
        out
    })
}

/// Vectors of `length` elements, each with a factor, one after the other; zeros where there is none.
pub(crate) fn end_to_end(vectors: Vec<(Option<Tensor>, f32)>, length: usize) -> Tensor {
    deferred_floats(&[vectors.len() * length], move || {
        let mut out = Vec::with_capacity(vectors.len() * length);
        for (vector, factor) in &vectors {
            match vector {
                Some(vector) => out.extend(floats(vector).iter().map(|value| value * factor)),
                None => out.resize(out.len() + length, 0.0),
            }
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_transposed_and_its_rows_rescaled() {
        let (rows, columns) = (35, 70);
        let values: Vec<f32> = (0..rows * columns).map(|value| value as f32).collect();
        let matrix = Tensor::from_f32([rows, columns], values).unwrap();
        let scale = RowScale::each((0..rows).map(|row| row as f32).collect());
        let out = transposed(matrix, Some(scale));
        assert_eq!(out.shape(), [columns, rows]);
        let out = out.to_f32().unwrap();
        for (row, column) in [(0, 0), (1, 0), (34, 69), (33, 31), (2, 68)] {
            let expected = (row * columns + column) * row;
            assert_eq!(out[column * rows + row] as usize, expected);
        }
    }

    #[test]
    fn matrices_stand_side_by_side_and_vectors_end_to_end() {
        let matrix = |values: [f32; 4]| Tensor::from_f32([2, 2], values.to_vec()).unwrap();
        let both = beside(vec![(matrix([1.0, 2.0, 3.0, 4.0]), 1.0), (matrix([5.0, 6.0, 7.0, 8.0]), 10.0)]);
        assert_eq!(both.shape(), [2, 4]);
        assert_eq!(both.to_f32().unwrap(), [1.0, 3.0, 50.0, 70.0, 2.0, 4.0, 60.0, 80.0]);
        let vector = Tensor::from_f32([2], vec![1.0, 2.0]).unwrap();
        let joined = end_to_end(vec![(Some(vector.clone()), 2.0), (None, 1.0), (Some(vector), 1.0)], 2);
        assert_eq!(joined.to_f32().unwrap(), [2.0, 4.0, 0.0, 0.0, 1.0, 2.0]);
    }

    #[test]
    fn halves_are_widened_and_floats_left_alone() {
        let half = Bytes::copy_from_slice(&half::f16::from_f32(1.5).to_le_bytes());
        let half = widened(Tensor::new(DataType::F16, [1], half).unwrap());
        assert_eq!((half.dtype(), half.to_f32().unwrap()), (DataType::F32, vec![1.5]));
        assert!(!widened(Tensor::from_f32([1], vec![1.0]).unwrap()).is_deferred());
        let scaled = rescaled(Tensor::from_f32([2], vec![1.0, 2.0]).unwrap(), Some(RowScale::all(0.5)));
        assert_eq!(scaled.to_f32().unwrap(), [0.5, 1.0]);
    }
}

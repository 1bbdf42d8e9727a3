//! Moving elements without changing them: reshape, transpose, slice, gather, concatenate.

use super::{Builder, Extent, Value, extent::product};
use crate::{Attribute, DataType, Dim};

impl Builder {
    /// Another shape for the same elements: a size, `0` to keep the dimension at that place, `-1` once to infer.
    pub fn reshape(&mut self, x: &Value, sizes: &[i64]) -> Value {
        let Some(shape) = reshaped(x, sizes) else {
            self.fail("Reshape", format!("{:?} cannot become {sizes:?}", x.shape));
            return x.clone();
        };
        if shape == x.shape {
            return x.clone();
        }
        let sizes = self.ints(sizes);
        self.node_of("Reshape", &[x, &sizes], [], x.dtype, shape)
    }

    /// All dimensions from `axis` on as one.
    pub fn flatten_from(&mut self, x: &Value, axis: usize) -> Value {
        let mut sizes = vec![0; axis];
        sizes.push(-1);
        self.reshape(x, &sizes)
    }

    /// The dimensions in another order.
    pub fn transpose(&mut self, x: &Value, order: &[usize]) -> Value {
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..x.rank()) {
            self.fail("Transpose", format!("{order:?} does not order {:?}", x.shape));
            return x.clone();
        }
        let shape = order.iter().map(|axis| x.shape[*axis].clone()).collect();
        let order: Vec<i64> = order.iter().map(|axis| *axis as i64).collect();
        self.node_of("Transpose", &[x], [("perm", order.into())], x.dtype, shape)
    }

    /// `values` one after the other along `axis`.
    pub fn concat(&mut self, values: &[&Value], axis: i64) -> Value {
        let Some((first, position)) = values.first().and_then(|first| Some((*first, first.axis(axis)?)))
        else {
            return self.mismatch("Concat", values);
        };
        if values.len() == 1 {
            return first.clone();
        }
        let mut shape = first.shape.clone();
        let mut total = 0;
        for value in values {
            let same = value.rank() == shape.len()
                && value.dtype == first.dtype
                && (0..shape.len()).all(|at| at == position || value.shape[at] == shape[at]);
            match value.shape.get(position).and_then(Dim::fixed) {
                Some(size) if same && total <= usize::MAX - size => total += size,
                _ => return self.mismatch("Concat", values),
            }
        }
        shape[position] = Dim::Fixed(total);
        self.node_of("Concat", values, [("axis", axis.into())], first.dtype, shape)
    }

    /// Pieces of these sizes along `axis`.
    pub fn split(&mut self, x: &Value, sizes: &[usize], axis: i64) -> Vec<Value> {
        let total = sizes.iter().try_fold(0_usize, |total, size| total.checked_add(*size));
        let fits =
            |position: &usize| total.is_some() && x.shape[*position].fixed() == total && !sizes.is_empty();
        let Some(position) = x.axis(axis).filter(fits) else {
            self.fail("Split", format!("{:?} does not split into {sizes:?} along {axis}", x.shape));
            return vec![x.clone(); sizes.len()];
        };
        let outputs = sizes
            .iter()
            .map(|size| {
                let mut shape = x.shape.clone();
                shape[position] = Dim::Fixed(*size);
                (x.dtype, shape)
            })
            .collect();
        let sizes: Vec<i64> = sizes.iter().map(|size| *size as i64).collect();
        let sizes = self.ints(&sizes);
        self.nodes_of("Split", &[x, &sizes], [("axis", axis.into())], outputs)
    }

    /// The elements `start..end` along `axis`.
    pub fn slice(&mut self, x: &Value, axis: i64, start: usize, end: usize) -> Value {
        self.slice_by(x, axis, start, end, 1)
    }

    /// Every `step`-th of the elements `start..end` along `axis`.
    pub fn slice_by(&mut self, x: &Value, axis: i64, start: usize, end: usize, step: usize) -> Value {
        let size = x.axis(axis).map_or(0, |position| x.shape[position].fixed().unwrap_or(0));
        let Some(position) = x.axis(axis).filter(|_| start < end && end <= size && step > 0) else {
            self.fail("Slice", format!("{start}..{end} of {:?} along {axis}", x.shape));
            return x.clone();
        };
        let mut shape = x.shape.clone();
        shape[position] = Dim::Fixed((end - start).div_ceil(step));
        let [starts, ends, axes, steps] =
            [start as i64, end as i64, axis, step as i64].map(|number| self.ints(&[number]));
        self.node_of("Slice", &[x, &starts, &ends, &axes, &steps], [], x.dtype, shape)
    }

    /// `x` with zeros along `axis`: so many before, so many after.
    pub fn pad(&mut self, x: &Value, axis: i64, before: usize, after: usize) -> Value {
        self.pad_with(x, axis, before, after, 0.0)
    }

    /// `x` (`float32`) with more elements of this `value` along `axis`: so many before, so many after.
    pub fn pad_with(&mut self, x: &Value, axis: i64, before: usize, after: usize, value: f32) -> Value {
        let padded = |position: usize| {
            let size = x.shape[position].fixed()?.checked_add(before)?.checked_add(after)?;
            Some((position, size))
        };
        let Some((position, size)) = x.axis(axis).and_then(padded) else {
            self.fail("Pad", format!("{before} and {after} around {:?} along {axis}", x.shape));
            return x.clone();
        };
        if before + after == 0 {
            return x.clone();
        }
        let mut shape = x.shape.clone();
        shape[position] = Dim::Fixed(size);
        let mut pads = vec![0; 2 * x.rank()];
        pads[position] = before as i64;
        pads[x.rank() + position] = after as i64;
        let (pads, value) = (self.ints(&pads), self.scalar(value));
        if x.dtype != value.dtype {
            self.fail("Pad", format!("{} and float32 do not mix", x.dtype));
        }
        self.node_of("Pad", &[x, &pads, &value], [], x.dtype, shape)
    }

    /// A new dimension of size 1 at each of `axes` (places in the result).
    pub fn unsqueeze(&mut self, x: &Value, axes: &[usize]) -> Value {
        let mut shape = x.shape.clone();
        let mut sorted = axes.to_vec();
        sorted.sort_unstable();
        let repeated = sorted.windows(2).any(|pair| pair[0] == pair[1]);
        for axis in sorted {
            if repeated || axis > shape.len() {
                self.fail("Unsqueeze", format!("{axes:?} of {:?}", x.shape));
                return x.clone();
            }
            shape.insert(axis, Dim::Fixed(1));
        }
        let axes: Vec<i64> = axes.iter().map(|axis| *axis as i64).collect();
        let axes = self.ints(&axes);
        self.node_of("Unsqueeze", &[x, &axes], [], x.dtype, shape)
    }

    /// The dimension of size 1 at `axis` removed.
    pub fn squeeze(&mut self, x: &Value, axis: i64) -> Value {
        let one = |position: &usize| x.shape[*position] == Dim::Fixed(1);
        let Some(position) = x.axis(axis).filter(one) else {
            self.fail("Squeeze", format!("{axis} of {:?}", x.shape));
            return x.clone();
        };
        let mut shape = x.shape.clone();
        shape.remove(position);
        let axes = self.ints(&[axis]);
        self.node_of("Squeeze", &[x, &axes], [], x.dtype, shape)
    }

    /// The slices of `x` along `axis` at fixed `positions`.
    pub fn take(&mut self, x: &Value, positions: &[usize], axis: i64) -> Value {
        let inside =
            |at: &usize| x.shape[*at].fixed().is_some_and(|size| positions.iter().all(|p| *p < size));
        let Some(position) = x.axis(axis).filter(inside) else {
            self.fail("Gather", format!("{positions:?} of {:?} along {axis}", x.shape));
            return x.clone();
        };
        let mut shape = x.shape.clone();
        shape[position] = Dim::Fixed(positions.len());
        let positions: Vec<i64> = positions.iter().map(|at| *at as i64).collect();
        let positions = self.ints(&positions);
        self.node_of("Gather", &[x, &positions], [("axis", axis.into())], x.dtype, shape)
    }

    /// The slices of `x` along `axis` at computed `positions`, whose dimensions take the axis' place.
    pub fn gather(&mut self, x: &Value, positions: &Value, axis: i64) -> Value {
        let Some(position) = x.axis(axis) else {
            return self.mismatch("Gather", &[x, positions]);
        };
        let mut shape = x.shape[..position].to_vec();
        shape.extend_from_slice(&positions.shape);
        shape.extend_from_slice(&x.shape[position + 1..]);
        self.node_of("Gather", &[x, positions], [("axis", axis.into())], x.dtype, shape)
    }

    /// The elements of `x` at `positions` along `axis`; the other dimensions run together (`GatherElements`).
    pub fn gather_elements(&mut self, x: &Value, positions: &Value, axis: i64) -> Value {
        if x.rank() != positions.rank() || x.axis(axis).is_none() || positions.dtype != DataType::I64 {
            return self.mismatch("GatherElements", &[x, positions]);
        }
        let attributes = [("axis", Attribute::Int(axis))];
        self.node_of("GatherElements", &[x, positions], attributes, x.dtype, positions.shape.clone())
    }

    /// Rows of `x` `[batch, rows, width]` at `positions` `[batch, count]` or `[batch, count, 1]`: `[batch, count, width]`.
    pub fn gather_rows(&mut self, x: &Value, positions: &Value) -> Value {
        let indices = if positions.rank() == 2 { self.unsqueeze(positions, &[2]) } else { positions.clone() };
        if x.rank() != 3
            || indices.rank() != 3
            || indices.size(2) != 1
            || x.shape[0] != indices.shape[0]
            || indices.dtype != DataType::I64
        {
            return self.mismatch("GatherND", &[x, positions]);
        }
        let shape = vec![indices.shape[0].clone(), indices.shape[1].clone(), x.shape[2].clone()];
        self.node_of("GatherND", &[x, &indices], [("batch_dims", Attribute::Int(1))], x.dtype, shape)
    }

    /// `x` repeated along the batch so that dimension 0 is as long as that of `like`. `x` has size 1 there.
    pub fn expand_batch(&mut self, x: &Value, like: &Value) -> Value {
        if x.shape.first() != Some(&Dim::Fixed(1)) || like.rank() == 0 {
            return self.mismatch("Expand", &[x, like]);
        }
        let shape_of = self.node_of(
            "Shape",
            &[like],
            [("start", 0.into()), ("end", 1.into())],
            DataType::I64,
            vec![Dim::Fixed(1)],
        );
        let target = if x.rank() > 1 {
            let ones = self.ints(&vec![1; x.rank() - 1]);
            self.concat(&[&shape_of, &ones], 0)
        } else {
            shape_of
        };
        let mut shape = x.shape.clone();
        shape[0] = like.shape[0].clone();
        self.node_of("Expand", &[x, &target], [], x.dtype, shape)
    }
}

/// The shape that `sizes` gives `x`, when the number of elements agrees.
fn reshaped(x: &Value, sizes: &[i64]) -> Option<Vec<Dim>> {
    let total = product(&x.extents())?;
    let mut extents = Vec::with_capacity(sizes.len());
    let mut inferred = None;
    for (at, size) in sizes.iter().enumerate() {
        extents.push(match size {
            -1 if inferred.is_none() => {
                inferred = Some(at);
                Extent::fixed(1)
            }
            0 => Extent::from(x.shape.get(at)?),
            size => Extent::fixed(usize::try_from(*size).ok()?),
        });
    }
    let rest = total.divided_by(&product(&extents)?)?;
    match inferred {
        Some(at) => extents[at] = rest,
        None if rest == Extent::fixed(1) => {}
        None => return None,
    }
    Some(extents.iter().map(Dim::from).collect())
}

//! How far two tensors are apart.
//!
//! All statistics are kept, never only a verdict: a bound is the caller's. Differences are taken over the positions
//! where both sides are finite; positions where they are not must agree in kind (both NaN, both +∞, both −∞) and are
//! counted when they do not, so that a tensor of NaN is never "equal".

use std::borrow::Cow;

use graph::Tensor;
use serde::{Deserialize, Serialize};

use crate::Error;

/// The distance of a tensor from a reference of the same shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Elements in each tensor.
    pub elements: usize,
    /// The largest `|actual − reference|`.
    pub max_abs: f64,
    /// Where it is: one index a dimension. `None` when no position is finite on both sides.
    pub max_abs_at: Option<Vec<usize>>,
    /// The reference and the actual value there.
    pub max_abs_values: Option<[f64; 2]>,
    /// The mean of `|actual − reference|`.
    pub mean_abs: f64,
    /// The root of the mean square of the reference's finite values: what "large" means in this tensor.
    pub scale: f64,
    /// The largest `|actual − reference| / max(|reference|, scale)`: relative for large values, and not blown up by
    /// values near zero. `None` when the reference is all zeros.
    pub max_relative: Option<f64>,
    /// The cosine of the angle between the two as vectors; `None` when one of them is zero.
    pub cosine: Option<f64>,
    /// NaNs in the reference and in the other.
    pub nan: [usize; 2],
    /// Infinities in the reference and in the other.
    pub infinite: [usize; 2],
    /// Positions where one side is finite and the other is not, or where they are not finite in different ways.
    pub unmatched: usize,
}

impl Comparison {
    /// Whether no element is further than `bound` from the reference, and none differs by being NaN or infinite.
    pub fn within(&self, bound: f64) -> bool {
        self.unmatched == 0 && self.max_abs <= bound
    }
}

/// One output's distance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputComparison {
    /// The output's name.
    pub name: String,
    /// How far it is from the reference.
    #[serde(flatten)]
    pub comparison: Comparison,
}

/// Compares every output of two runs, matched by name, in the reference's order.
///
/// # Errors
/// [`Error::UnmatchedOutput`] when one run has an output that the other lacks; those of [`compare`].
pub fn compare_outputs(
    reference: &[(String, Tensor)],
    actual: &[(String, Tensor)],
) -> Result<Vec<OutputComparison>, Error> {
    let lacking = |name: &str, others: &[(String, Tensor)]| others.iter().all(|(other, _)| other != name);
    if let Some((name, _)) = actual.iter().find(|(name, _)| lacking(name, reference)) {
        return Err(Error::UnmatchedOutput { name: name.clone() });
    }
    reference
        .iter()
        .map(|(name, tensor)| {
            let (_, other) = actual
                .iter()
                .find(|(other, _)| other == name)
                .ok_or_else(|| Error::UnmatchedOutput { name: name.clone() })?;
            Ok(OutputComparison { name: name.clone(), comparison: compare(tensor, other)? })
        })
        .collect()
}

/// Compares two tensors of the same shape; their element types may differ (`float16` against `float32`).
///
/// # Errors
/// [`Error::ShapesDiffer`]; [`Error::Graph`] for elements that are no numbers.
pub fn compare(reference: &Tensor, actual: &Tensor) -> Result<Comparison, Error> {
    if reference.shape() != actual.shape() {
        return Err(Error::ShapesDiffer {
            reference: reference.shape().to_vec(),
            actual: actual.shape().to_vec(),
        });
    }
    let whole = |tensor: &Tensor| tensor.to_i64().ok();
    // As integers where both are: a class index beyond 2^24 would not survive `float32`.
    if let (Some(a), Some(b)) = (whole(reference), whole(actual)) {
        return Ok(statistics(a.iter().map(|v| *v as f64), b.iter().map(|v| *v as f64), reference.shape()));
    }
    let (a, b) = (floats(reference)?, floats(actual)?);
    Ok(statistics(a.iter().map(|v| f64::from(*v)), b.iter().map(|v| f64::from(*v)), reference.shape()))
}

fn floats(tensor: &Tensor) -> Result<Cow<'_, [f32]>, Error> {
    if tensor.dtype() == graph::DataType::F32 {
        return Ok(tensor.as_f32()?);
    }
    Ok(Cow::Owned(tensor.to_f32()?))
}

fn statistics(
    reference: impl Iterator<Item = f64> + Clone,
    actual: impl Iterator<Item = f64> + Clone,
    shape: &[usize],
) -> Comparison {
    let (mut squares, mut finite) = (0.0, 0_usize);
    for value in reference.clone().filter(|value| value.is_finite()) {
        squares += value * value;
        finite += 1;
    }
    let scale = if finite == 0 { 0.0 } else { (squares / finite as f64).sqrt() };

    let mut result = Comparison {
        elements: 0,
        max_abs: 0.0,
        max_abs_at: None,
        max_abs_values: None,
        mean_abs: 0.0,
        scale,
        max_relative: (scale > 0.0).then_some(0.0),
        cosine: None,
        nan: [0; 2],
        infinite: [0; 2],
        unmatched: 0,
    };
    let (mut sum, mut both, mut dot, mut norms) = (0.0, 0_usize, 0.0, [0.0_f64; 2]);
    let mut worst = None;
    for (position, (a, b)) in reference.zip(actual).enumerate() {
        result.elements += 1;
        for (side, value) in [a, b].into_iter().enumerate() {
            result.nan[side] += usize::from(value.is_nan());
            result.infinite[side] += usize::from(value.is_infinite());
        }
        if !(a.is_finite() && b.is_finite()) {
            let infinite = a.is_infinite() && b.is_infinite();
            let same = a.is_nan() && b.is_nan() || infinite && a.is_sign_positive() == b.is_sign_positive();
            result.unmatched += usize::from(!same);
            continue;
        }
        let difference = (b - a).abs();
        sum += difference;
        both += 1;
        dot += a * b;
        norms[0] += a * a;
        norms[1] += b * b;
        if let Some(relative) = &mut result.max_relative {
            *relative = relative.max(difference / a.abs().max(scale));
        }
        if worst.is_none() || difference > result.max_abs {
            result.max_abs = difference;
            result.max_abs_values = Some([a, b]);
            worst = Some(position);
        }
    }
    if both > 0 {
        result.mean_abs = sum / both as f64;
    }
    let length = (norms[0] * norms[1]).sqrt();
    result.cosine = (length > 0.0).then(|| dot / length);
    result.max_abs_at = worst.map(|position| indices(position, shape));
    result
}

/// The indices of the element at `position` in row-major order.
fn indices(mut position: usize, shape: &[usize]) -> Vec<usize> {
    let mut indices: Vec<usize> = shape
        .iter()
        .rev()
        .map(|size| {
            let index = position % size.max(&1);
            position /= size.max(&1);
            index
        })
        .collect();
    indices.reverse();
    indices
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::from_f32(shape, values.to_vec()).unwrap()
    }

    fn close(actual: f64, expected: f64) -> bool {
        (actual - expected).abs() < 1e-6
    }

    #[test]
    fn every_statistic_of_a_small_case() {
        let reference = tensor(&[2, 2], &[3.0, 4.0, 0.0, -1.0]);
        let actual = tensor(&[2, 2], &[3.0, 4.5, 0.25, -1.0]);
        let result = compare(&reference, &actual).unwrap();
        assert_eq!(result.elements, 4);
        assert!(close(result.max_abs, 0.5));
        assert_eq!(result.max_abs_at, Some(vec![0, 1]));
        assert_eq!(result.max_abs_values, Some([4.0, 4.5]));
        assert!(close(result.mean_abs, 0.1875));
        assert!(close(result.scale, (26.0_f64 / 4.0).sqrt()));
        // 0.5/4 beats 0.25/scale = 0.098.
        assert!(close(result.max_relative.unwrap(), 0.125));
        let dot = 9.0 + 18.0 + 1.0;
        assert!(close(result.cosine.unwrap(), dot / (26.0_f64 * (9.0 + 20.25 + 0.0625 + 1.0)).sqrt()));
        assert!(result.within(0.5) && !result.within(0.49));
    }

    #[test]
    fn what_is_not_finite_must_agree_in_kind() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        let cases: [(&[f32], &[f32], usize); 6] = [
            (&[nan, 1.0], &[nan, 1.0], 0),
            (&[inf, 1.0], &[inf, 1.0], 0),
            (&[inf, 1.0], &[-inf, 1.0], 1),
            (&[nan, 1.0], &[inf, 1.0], 1),
            (&[0.0, 1.0], &[nan, 1.0], 1),
            (&[nan, nan], &[0.0, 0.0], 2),
        ];
        for (a, b, unmatched) in cases {
            let result = compare(&tensor(&[2], a), &tensor(&[2], b)).unwrap();
            assert_eq!(result.unmatched, unmatched, "{a:?} {b:?}");
            assert_eq!(result.within(0.0), unmatched == 0, "{a:?} {b:?}");
        }
        let result = compare(&tensor(&[3], &[nan, inf, inf]), &tensor(&[3], &[nan, nan, 1.0])).unwrap();
        assert_eq!((result.nan, result.infinite), ([1, 2], [2, 0]));
        assert_eq!(result.max_abs_at, None);
    }

    #[test]
    fn nothing_divides_by_zero() {
        let zero = tensor(&[2], &[0.0, 0.0]);
        let result = compare(&zero, &tensor(&[2], &[0.0, 1.0])).unwrap();
        assert_eq!((result.max_relative, result.cosine), (None, None));
        assert_eq!(result.max_abs_at, Some(vec![1]));
        let empty = tensor(&[0, 3], &[]);
        let result = compare(&empty, &empty).unwrap();
        assert_eq!((result.elements, result.mean_abs, result.max_abs_at), (0, 0.0, None));
    }

    #[test]
    fn integers_are_compared_exactly() {
        let a = Tensor::from_i64([1], vec![(1 << 40) + 1]).unwrap();
        let b = Tensor::from_i64([1], vec![1 << 40]).unwrap();
        assert!(close(compare(&a, &b).unwrap().max_abs, 1.0));
    }

    #[test]
    fn shapes_and_names_have_to_match() {
        let a = tensor(&[2, 1], &[0.0; 2]);
        assert!(matches!(compare(&a, &tensor(&[1, 2], &[0.0; 2])), Err(Error::ShapesDiffer { .. })));
        let named = |name: &str| vec![(name.to_owned(), a.clone())];
        assert_eq!(compare_outputs(&named("x"), &named("x")).unwrap()[0].name, "x");
        let mut two = named("x");
        two.extend(named("y"));
        for (left, right) in [(&two, &named("x")), (&named("x"), &two)] {
            let error = compare_outputs(left, right).unwrap_err();
            assert!(matches!(error, Error::UnmatchedOutput { name } if name == "y"));
        }
    }

    #[test]
    fn positions_become_indices() {
        for (position, shape, expected) in
            [(0, vec![], vec![]), (5, vec![2, 3], vec![1, 2]), (7, vec![2, 2, 2], vec![1, 1, 1])]
        {
            assert_eq!(indices(position, &shape), expected);
        }
    }
}

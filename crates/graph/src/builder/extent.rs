//! Sizes that may be a multiple of a symbol, and the arithmetic that Reshape and broadcasting need.

use crate::Dim;

/// `factor`, or `factor × symbol`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) factor: usize,
    pub(super) symbol: Option<String>,
}

impl Extent {
    pub(super) fn fixed(factor: usize) -> Self {
        Self { factor, symbol: None }
    }

    /// The product; `None` when both carry a symbol.
    pub(super) fn times(&self, other: &Self) -> Option<Self> {
        let symbol = match (&self.symbol, &other.symbol) {
            (Some(_), Some(_)) => return None,
            (Some(symbol), None) | (None, Some(symbol)) => Some(symbol.clone()),
            (None, None) => None,
        };
        Some(Self { factor: self.factor.checked_mul(other.factor)?, symbol })
    }

    /// The exact quotient; `None` when there is none.
    pub(super) fn divided_by(&self, other: &Self) -> Option<Self> {
        if other.factor == 0 || !self.factor.is_multiple_of(other.factor) {
            return None;
        }
        let symbol = match (&self.symbol, &other.symbol) {
            (symbol, None) => symbol.clone(),
            (Some(mine), Some(theirs)) if mine == theirs => None,
            _ => return None,
        };
        Some(Self { factor: self.factor / other.factor, symbol })
    }
}

impl From<&Dim> for Extent {
    fn from(dim: &Dim) -> Self {
        match dim {
            Dim::Fixed(size) => Self::fixed(*size),
            Dim::Symbol(text) => {
                match text.split_once('*').map(|(factor, symbol)| (factor.parse(), symbol)) {
                    Some((Ok(factor), symbol)) => Self { factor, symbol: Some(symbol.to_owned()) },
                    _ => Self { factor: 1, symbol: Some(text.clone()) },
                }
            }
            Dim::Unknown => Self { factor: 1, symbol: Some("?".into()) },
        }
    }
}

impl From<&Extent> for Dim {
    fn from(extent: &Extent) -> Self {
        match &extent.symbol {
            None => Self::Fixed(extent.factor),
            Some(symbol) if symbol == "?" => Self::Unknown,
            Some(symbol) if extent.factor == 1 => Self::Symbol(symbol.clone()),
            Some(symbol) => Self::Symbol(format!("{}*{symbol}", extent.factor)),
        }
    }
}

/// The product of all sizes; `None` when more than one carries a symbol.
pub(super) fn product(extents: &[Extent]) -> Option<Extent> {
    extents.iter().try_fold(Extent::fixed(1), |total, extent| total.times(extent))
}

/// The shape that two shapes broadcast to, by ONNX's (numpy's) rule; `None` when they do not.
pub(super) fn broadcast(a: &[Dim], b: &[Dim]) -> Option<Vec<Dim>> {
    let rank = a.len().max(b.len());
    let at = |shape: &[Dim], axis: usize| {
        let missing = rank - shape.len();
        if axis < missing { Dim::Fixed(1) } else { shape[axis - missing].clone() }
    };
    (0..rank)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (x, y) if x == y => Some(x),
            (Dim::Fixed(1), other) | (other, Dim::Fixed(1)) => Some(other),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_keeps_its_factor() {
        let batch = Extent::from(&Dim::batch());
        let eight = batch.times(&Extent::fixed(8)).unwrap();
        assert_eq!(Dim::from(&eight), Dim::Symbol("8*batch".into()));
        assert_eq!(Extent::from(&Dim::from(&eight)), eight);
        assert_eq!(eight.divided_by(&batch), Some(Extent::fixed(8)));
        assert_eq!(eight.divided_by(&Extent::fixed(3)), None);
        assert_eq!(batch.times(&batch), None);
    }

    #[test]
    fn shapes_broadcast_from_the_back() {
        let dims = |sizes: &[usize]| sizes.iter().map(|size| Dim::Fixed(*size)).collect::<Vec<_>>();
        let cases = [
            (dims(&[2, 3]), dims(&[3]), Some(dims(&[2, 3]))),
            (dims(&[2, 1]), dims(&[1, 5]), Some(dims(&[2, 5]))),
            (dims(&[]), dims(&[4]), Some(dims(&[4]))),
            (dims(&[2]), dims(&[3]), None),
        ];
        for (a, b, expected) in cases {
            assert_eq!(broadcast(&a, &b), expected, "{a:?} with {b:?}");
        }
    }
}

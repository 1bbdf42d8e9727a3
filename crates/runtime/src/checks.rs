//! Whether what is given is what the graph takes: the same rules for every backend.

use std::collections::HashMap;
use std::fmt::Write;

use graph::{DataType, Dim, Tensor, ValueInfo};

use crate::Error;

/// The tensors in the order of `declared`.
///
/// A symbol stands for one size in all inputs: a graph with `images [batch, …]` and `sizes [batch, 2]` refuses three
/// images with two sizes here, not deep inside an operator.
pub(crate) fn in_order<'a>(
    declared: &[ValueInfo],
    given: &[(&str, &'a Tensor)],
) -> Result<Vec<&'a Tensor>, Error> {
    for (position, (name, _)) in given.iter().enumerate() {
        if declared.iter().all(|info| info.name != *name) {
            let known = declared.iter().map(|info| info.name.clone()).collect();
            return Err(Error::UnknownInput { name: (*name).to_owned(), known });
        }
        if given[..position].iter().any(|(earlier, _)| earlier == name) {
            return Err(Error::RepeatedInput { name: (*name).to_owned() });
        }
    }
    let mut symbols = HashMap::new();
    declared
        .iter()
        .map(|info| {
            let found = given.iter().find(|(name, _)| *name == info.name);
            let (_, tensor) = found
                .ok_or_else(|| Error::MissingInput { name: info.name.clone(), expected: describe(info) })?;
            check(info, tensor, &mut symbols)?;
            Ok(*tensor)
        })
        .collect()
}

fn check<'a>(
    info: &'a ValueInfo,
    tensor: &Tensor,
    symbols: &mut HashMap<&'a str, usize>,
) -> Result<(), Error> {
    let fits = info.dtype.is_none_or(|dtype| dtype == tensor.dtype())
        && info.shape.as_ref().is_none_or(|shape| {
            shape.len() == tensor.shape().len()
                && shape.iter().zip(tensor.shape()).all(|(dim, size)| match dim {
                    Dim::Fixed(expected) => expected == size,
                    Dim::Symbol(name) => symbols.entry(name).or_insert(*size) == size,
                    Dim::Unknown => true,
                })
        });
    if fits {
        return Ok(());
    }
    let mut expected = describe(info);
    for name in info.shape.iter().flatten() {
        if let Dim::Symbol(name) = name
            && let Some(size) = symbols.get(name.as_str())
        {
            let _ = write!(expected, " with {name} = {size}");
        }
    }
    let actual = format!("{} {}", tensor.dtype(), sizes(tensor.shape()));
    Err(Error::WrongInput { name: info.name.clone(), expected, actual })
}

/// `float32 [batch, 3, 640, 640]`.
pub(crate) fn describe(info: &ValueInfo) -> String {
    let dtype = info.dtype.map_or("any type", DataType::name);
    let shape = info.shape.as_ref().map_or_else(|| "of any rank".to_owned(), |shape| sizes(shape));
    format!("{dtype} {shape}")
}

fn sizes<T: std::fmt::Display>(shape: &[T]) -> String {
    let sizes: Vec<String> = shape.iter().map(ToString::to_string).collect();
    format!("[{}]", sizes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(batch: usize) -> Tensor {
        Tensor::from_f32([batch, 2], vec![0.0; batch * 2]).unwrap()
    }

    fn declared() -> Vec<ValueInfo> {
        vec![
            ValueInfo::tensor("images", DataType::F32, vec![Dim::batch(), Dim::Fixed(2)]),
            ValueInfo::tensor("sizes", DataType::I64, vec![Dim::batch()]),
        ]
    }

    #[test]
    fn tensors_come_in_the_graphs_order() {
        let (images, sizes) = (images(1), Tensor::from_i64([1], vec![7]).unwrap());
        let ordered = in_order(&declared(), &[("sizes", &sizes), ("images", &images)]).unwrap();
        assert_eq!(ordered, [&images, &sizes]);
    }

    #[test]
    fn every_mistake_names_the_input() {
        let (one, two) = (images(1), images(2));
        let sizes = Tensor::from_i64([1], vec![7]).unwrap();
        let narrow = Tensor::from_f32([1, 1], vec![0.0]).unwrap();
        let flat = Tensor::from_f32([2], vec![0.0; 2]).unwrap();
        let cases: [(&[(&str, &Tensor)], &str); 7] = [
            (&[("images", &one)], "input `sizes` (int64 [batch]) is missing"),
            (&[("image", &one)], "the graph has no input `image`, it has `images`, `sizes`"),
            (&[("images", &one), ("images", &one)], "input `images` is given twice"),
            (
                &[("images", &narrow), ("sizes", &sizes)],
                "input `images` is float32 [1, 1], the graph takes float32 [batch, 2] with batch = 1",
            ),
            (
                &[("images", &flat), ("sizes", &sizes)],
                "input `images` is float32 [2], the graph takes float32 [batch, 2]",
            ),
            (
                &[("images", &sizes), ("sizes", &sizes)],
                "input `images` is int64 [1], the graph takes float32 [batch, 2]",
            ),
            (
                &[("images", &two), ("sizes", &sizes)],
                "input `sizes` is int64 [1], the graph takes int64 [batch] with batch = 2",
            ),
        ];
        for (given, expected) in cases {
            assert_eq!(in_order(&declared(), given).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn what_is_not_declared_is_not_checked() {
        let loose = [ValueInfo { name: "x".into(), ..ValueInfo::default() }];
        assert!(in_order(&loose, &[("x", &images(3))]).is_ok());
        let unknown = [ValueInfo::tensor("x", DataType::F32, vec![Dim::Unknown; 2])];
        assert!(in_order(&unknown, &[("x", &images(3))]).is_ok());
    }
}

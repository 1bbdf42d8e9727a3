//! Weights in eight bits, one scale an output channel.

use super::LARGEST_CODE;
use super::scales::step;
use crate::{DataType, Error, Tensor};

/// The codes of a weight tensor and the scale of each channel along `axis`.
pub(super) fn rounded(tensor: &Tensor, axis: usize) -> Result<(Tensor, Vec<f32>), Error> {
    let values = tensor.as_f32()?;
    let shape = tensor.shape();
    let channels = shape.get(axis).copied().unwrap_or(0).max(1);
    let inner: usize = shape.iter().skip(axis + 1).product::<usize>().max(1);
    let mut ranges = vec![0.0_f32; channels];
    for (row, chunk) in values.chunks(inner).enumerate() {
        let range = &mut ranges[row % channels];
        *range = chunk.iter().fold(*range, |most, value| most.max(value.abs()));
    }
    if ranges.iter().any(|range| !range.is_finite()) {
        return Err(Error::Invalid("weights that are no finite numbers cannot be rounded".into()));
    }
    let scales: Vec<f32> = ranges.into_iter().map(step).collect();
    let mut codes = Vec::with_capacity(values.len());
    for (row, chunk) in values.chunks(inner).enumerate() {
        let scale = scales[row % channels];
        let code =
            |value: &f32| (value / scale).round_ties_even().clamp(-LARGEST_CODE, LARGEST_CODE) as i8 as u8;
        codes.extend(chunk.iter().map(code));
    }
    Ok((Tensor::new(DataType::I8, shape, codes.into())?, scales))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_has_its_own_step() {
        let values = vec![1.0, -0.5, 100.0, 127.0, 0.0, 0.0];
        let tensor = Tensor::from_f32([3, 2], values).unwrap();
        let (codes, scales) = rounded(&tensor, 0).unwrap();
        let codes: Vec<i8> = codes.bytes().iter().map(|byte| *byte as i8).collect();
        assert_eq!(codes, [127, -64, 100, 127, 0, 0]);
        assert_eq!(scales, [1.0 / 127.0, 1.0, 1.0]);
        let transposed = Tensor::from_f32([2, 3], vec![1.0, 100.0, 0.0, -0.5, 127.0, 0.0]).unwrap();
        let (codes, same) = rounded(&transposed, 1).unwrap();
        assert_eq!(same, scales);
        assert_eq!(codes.bytes()[3] as i8, -64);
    }

    #[test]
    fn weights_that_are_no_numbers_are_refused() {
        let tensor = Tensor::from_f32([2, 1], vec![1.0, f32::INFINITY]).unwrap();
        assert!(rounded(&tensor, 0).is_err());
    }
}

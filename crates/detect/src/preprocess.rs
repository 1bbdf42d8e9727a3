//! From images to input tensors, equal to what the model was trained with.
//!
//! The image is resized as bytes, then one pass looks every byte up in a table of 256 finished values a channel and
//! writes the planes; so normalisation costs nothing and rounding happens where PIL and torchvision round: after the
//! resize. Batches are made in parallel, an image a task.

use std::borrow::Borrow;

use bytes::Bytes;
use graph::{DataType, Tensor};
use half::f16;
use rayon::prelude::*;

use crate::resample::resize;
use crate::{ChannelOrder, ElementType, Error, Geometry, Image, ImageInput, PixelMask, Resize};

/// Input tensors of a batch, and the way back for each of its rows.
#[derive(Debug, Clone)]
pub struct Preprocessed {
    /// Every input of the graph by name: the image tensor `[batch, 3, height, width]` first, then the mask and the
    /// image sizes where the graph has them. Raw frames are as [`crate::Frames`] says.
    pub inputs: Vec<(String, Tensor)>,
    /// Where each image lies, one a row of the batch.
    pub geometries: Vec<Geometry>,
}

/// Makes the graph's inputs from a batch of images, one a row.
///
/// # Errors
/// [`Error::Frames`] when a graph takes raw frames and the images are not of one size; [`Error::Resize`] and
/// [`Error::Tensor`] only for descriptions that [`crate::Detector::validate`] refuses.
pub fn preprocess<I: Borrow<Image> + Sync>(input: &ImageInput, images: &[I]) -> Result<Preprocessed, Error> {
    let geometries: Vec<Geometry> = images
        .iter()
        .map(|image| Geometry::new(input, (image.borrow().width(), image.borrow().height())))
        .collect();
    if let Some(frames) = &input.frames {
        return Ok(Preprocessed { inputs: crate::frames::tensors(input, frames, images)?, geometries });
    }
    let mut inputs = vec![(input.tensor.clone(), image_tensor(input, images, &geometries)?)];
    if let Some(mask) = &input.mask {
        inputs.push((mask.tensor.clone(), mask_tensor(mask, &geometries)?));
    }
    if let Some(name) = &input.image_size {
        inputs.push((name.clone(), size_tensor(name, &geometries)?));
    }
    Ok(Preprocessed { inputs, geometries })
}

fn image_tensor<I: Borrow<Image> + Sync>(
    input: &ImageInput,
    images: &[I],
    geometries: &[Geometry],
) -> Result<Tensor, Error> {
    let (dtype, bytes) = match input.dtype {
        ElementType::F32 => (DataType::F32, planes(input, images, geometries, |value| value)?),
        ElementType::F16 => (DataType::F16, planes(input, images, geometries, f16::from_f32)?),
        ElementType::U8 => (DataType::U8, planes(input, images, geometries, |value| value as u8)?),
    };
    let shape = [images.len(), 3, input.height as usize, input.width as usize];
    Tensor::new(dtype, shape, bytes).map_err(|source| tensor_error(&input.tensor, source))
}

/// The planes of all images as bytes of `T`.
fn planes<T, I>(
    input: &ImageInput,
    images: &[I],
    geometries: &[Geometry],
    convert: impl Fn(f32) -> T,
) -> Result<Bytes, Error>
where
    T: bytemuck::Pod + Send + Sync,
    I: Borrow<Image> + Sync,
{
    let tables = Tables::new(input, convert);
    let area = input.width as usize * input.height as usize;
    let mut values = vec![T::zeroed(); images.len() * 3 * area];
    values.par_chunks_mut(3 * area).zip(images.par_iter().zip(geometries)).try_for_each(
        |(out, (image, geometry))| write_image(input, &tables, image.borrow(), geometry, out),
    )?;
    Ok(Bytes::from_owner(Owned(values)))
}

/// Lends its elements as bytes, so that a tensor takes them without a copy.
struct Owned<T>(Vec<T>);

impl<T: bytemuck::NoUninit> AsRef<[u8]> for Owned<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// The finished value of every byte, by source channel (red, green, blue), and of the padding, by plane.
struct Tables<T> {
    /// Which plane a source channel goes to.
    plane: [usize; 3],
    values: [[T; 256]; 3],
    padding: [T; 3],
}

impl<T: bytemuck::Zeroable + Copy> Tables<T> {
    fn new(input: &ImageInput, convert: impl Fn(f32) -> T) -> Self {
        let plane = match input.channels {
            ChannelOrder::Rgb => [0, 1, 2],
            ChannelOrder::Bgr => [2, 1, 0],
        };
        let finished = |byte: u8, plane: usize| {
            // In f64, then rounded once: equal to the references' fused forms to the last bit or two.
            let value = f64::from(byte) * f64::from(input.scale);
            convert(((value - f64::from(input.mean[plane])) / f64::from(input.std[plane])) as f32)
        };
        Self {
            plane,
            values: plane.map(|plane| std::array::from_fn(|byte| finished(byte as u8, plane))),
            padding: std::array::from_fn(|plane| match input.resize {
                Resize::Letterbox { fill, .. } => finished(fill, plane),
                Resize::Stretch | Resize::ShortestEdge { .. } => T::zeroed(),
            }),
        }
    }
}

/// Writes the three planes of one image.
fn write_image<T: Copy>(
    input: &ImageInput,
    tables: &Tables<T>,
    image: &Image,
    geometry: &Geometry,
    out: &mut [T],
) -> Result<(), Error> {
    let width = input.width as usize;
    let area = width * input.height as usize;
    if geometry.resized != geometry.input {
        for (plane, padding) in out.chunks_exact_mut(area).zip(tables.padding) {
            plane.fill(padding);
        }
    }
    let resized = resize(image, geometry.resized, input.filter, input.antialias)?;
    let (first, rest) = out.split_at_mut(area);
    let (second, third) = rest.split_at_mut(area);
    let [mut red, mut green, mut blue] = match tables.plane {
        [0, ..] => [first, second, third],
        _ => [third, second, first],
    };
    let (left, top) = (geometry.offset.0 as usize, geometry.offset.1 as usize);
    let row_len = geometry.resized.0 as usize;
    for (row, pixels) in resized.as_ref().chunks_exact(3 * row_len).enumerate() {
        let start = (top + row) * width + left;
        let planes = [&mut red, &mut green, &mut blue].map(|plane| &mut plane[start..start + row_len]);
        write_row(&tables.values, pixels, planes);
    }
    Ok(())
}

fn write_row<T: Copy>(tables: &[[T; 256]; 3], pixels: &[u8], [red, green, blue]: [&mut [T]; 3]) {
    let outputs = red.iter_mut().zip(green).zip(blue);
    for (&[r, g, b], ((red, green), blue)) in pixels.as_chunks::<3>().0.iter().zip(outputs) {
        *red = tables[0][usize::from(r)];
        *green = tables[1][usize::from(g)];
        *blue = tables[2][usize::from(b)];
    }
}

/// 1 on the image, 0 on the padding. A mask of another size than the tensor samples it by nearest neighbour, as the
/// graph itself does next.
pub(crate) fn mask_tensor(mask: &PixelMask, geometries: &[Geometry]) -> Result<Tensor, Error> {
    let (width, height) = (mask.width as usize, mask.height as usize);
    let mut values = Vec::with_capacity(geometries.len() * width * height);
    for geometry in geometries {
        let covered = |index: usize, length: usize, input: u32, offset: u32, resized: u32| {
            let pixel = (index as u64 * u64::from(input) / length as u64) as u32;
            (offset..offset + resized).contains(&pixel)
        };
        let ((input_w, input_h), (left, top), (w, h)) = (geometry.input, geometry.offset, geometry.resized);
        let columns: Vec<bool> = (0..width).map(|x| covered(x, width, input_w, left, w)).collect();
        for y in 0..height {
            let row = covered(y, height, input_h, top, h);
            values.extend(columns.iter().map(|&column| i64::from(row && column)));
        }
    }
    Tensor::from_i64([geometries.len(), height, width], values)
        .map_err(|source| tensor_error(&mask.tensor, source))
}

fn size_tensor(name: &str, geometries: &[Geometry]) -> Result<Tensor, Error> {
    let sizes = geometries.iter().flat_map(|g| [i64::from(g.original.0), i64::from(g.original.1)]).collect();
    Tensor::from_i64([geometries.len(), 2], sizes).map_err(|source| tensor_error(name, source))
}

pub(crate) fn tensor_error(name: &str, source: graph::Error) -> Error {
    Error::Tensor { name: name.to_owned(), source }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "bytes of 0–255 and halves of them are exact")]
mod tests {
    use super::*;
    use crate::Filter;
    use crate::detector::tests::detector;

    fn input(resize: Resize) -> ImageInput {
        ImageInput { width: 4, height: 4, resize, scale: 1.0, ..detector().input }
    }

    fn values(input: &ImageInput, image: &Image) -> Vec<f32> {
        preprocess(input, &[image]).unwrap().inputs[0].1.to_f32().unwrap()
    }

    #[test]
    fn channels_scale_mean_and_std_are_applied_in_order() {
        let image = Image::filled(4, 4, [10, 20, 30]).unwrap();
        let plain = input(Resize::Stretch);
        let scaled = ImageInput { scale: 0.5, mean: [1.0, 2.0, 3.0], std: [2.0, 4.0, 8.0], ..plain.clone() };
        let bgr = ImageInput { channels: ChannelOrder::Bgr, ..scaled.clone() };
        let cases = [
            ("plain", plain, [10.0, 20.0, 30.0]),
            ("scaled", scaled, [2.0, 2.0, 1.5]),
            ("blue first", bgr, [7.0, 2.0, 0.25]),
        ];
        for (name, input, expected) in cases {
            let found = values(&input, &image);
            assert_eq!([found[0], found[16], found[47]], expected, "{name}");
        }
    }

    #[test]
    fn letterbox_pads_before_and_shortest_edge_after_normalisation() {
        let image = Image::filled(8, 4, [100; 3]).unwrap();
        let mut input = input(Resize::Letterbox { fill: 114, centred: true, upscale: true });
        input.mean = [14.0; 3];
        assert_eq!(values(&input, &image)[..16], [[100.0; 4], [86.0; 4], [86.0; 4], [100.0; 4]].concat());
        input.resize = Resize::ShortestEdge { shortest: 2, longest: 4, multiple_of: None };
        assert_eq!(values(&input, &image)[..16], [[86.0; 4], [86.0; 4], [0.0; 4], [0.0; 4]].concat());
    }

    #[test]
    fn masks_and_sizes_follow_the_image() {
        let mut input = input(Resize::ShortestEdge { shortest: 2, longest: 4, multiple_of: None });
        input.image_size = Some("size".into());
        let images = [Image::filled(8, 4, [0; 3]).unwrap(), Image::filled(4, 4, [0; 3]).unwrap()];
        for (side, wide, square) in [
            (4, "1111 1111 0000 0000", "1100 1100 0000 0000"),
            (2, "11 00", "10 00"),
            (8, "11111111 11111111 11111111 11111111 00000000 00000000 00000000 00000000", ""),
        ] {
            input.mask = Some(PixelMask { tensor: "mask".into(), width: side, height: side });
            let made = preprocess(&input, &images).unwrap().inputs;
            assert_eq!(
                made.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
                ["pixel_values", "mask", "size"]
            );
            let mask = made[1].1.to_i64().unwrap();
            let area = (side * side) as usize;
            let text = |row: &[i64]| row.iter().map(ToString::to_string).collect::<String>();
            assert_eq!(text(&mask[..area]), wide.replace(' ', ""), "{side}");
            if !square.is_empty() {
                assert_eq!(text(&mask[area..]), square.replace(' ', ""), "{side}");
            }
            assert_eq!(made[2].1.to_i64().unwrap(), [8, 4, 4, 4]);
        }
    }

    #[test]
    fn every_element_type_and_filter_gives_the_same_picture() {
        let pixels = (0..9 * 7 * 3).map(|value| (value * 37 % 251) as u8).collect();
        let image = Image::new(9, 7, pixels).unwrap();
        for filter in [
            Filter::Nearest,
            Filter::Box,
            Filter::Bilinear,
            Filter::Hamming,
            Filter::Bicubic,
            Filter::Lanczos,
        ] {
            for antialias in [false, true] {
                let f32s = ImageInput { filter, antialias, ..input(Resize::Stretch) };
                let expected = values(&f32s, &image);
                assert!(expected.iter().any(|value| *value != expected[0]));
                for dtype in [ElementType::F16, ElementType::U8] {
                    assert_eq!(
                        values(&ImageInput { dtype, ..f32s.clone() }, &image),
                        expected,
                        "{filter:?} {dtype:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn rows_do_not_depend_on_their_neighbours() {
        let input = ImageInput {
            width: 32,
            height: 24,
            ..input(Resize::Letterbox { fill: 114, centred: true, upscale: true })
        };
        let images: Vec<Image> = (1_u8..6)
            .map(|n| {
                let side = u32::from(n) * 17;
                Image::new(side, 40, (0..side * 120).map(|v| (v as u8).wrapping_mul(n)).collect()).unwrap()
            })
            .collect();
        let batch = preprocess(&input, &images).unwrap().inputs[0].1.to_f32().unwrap();
        for (row, image) in batch.chunks(3 * 32 * 24).zip(&images) {
            assert_eq!(row, values(&input, image));
        }
        let empty = preprocess::<Image>(&input, &[]).unwrap();
        assert_eq!(empty.inputs[0].1.shape(), [0, 3, 24, 32]);
    }
}

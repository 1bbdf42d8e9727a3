//! Raw frames: the images as a graph takes them that preprocesses by itself.
//!
//! NV12 has colour at half the size. Going there averages four pixels and loses detail, as a camera or an encoder does;
//! coming back repeats each colour (what `OpenCV`, NPP and video decoders do).

use std::borrow::Borrow;

use graph::{DataType, Tensor};

use crate::preprocess::tensor_error;
use crate::{Error, Frames, Image, ImageInput, Matrix};

/// The inputs of a graph that takes raw frames.
pub(crate) fn tensors<I: Borrow<Image>>(
    input: &ImageInput,
    frames: &Frames,
    images: &[I],
) -> Result<Vec<(String, Tensor)>, Error> {
    let size = |image: &I| (image.borrow().width(), image.borrow().height());
    let first = images.first().map_or((1, 1), size);
    if let Some(other) = images.iter().map(size).find(|other| *other != first) {
        return Err(Error::Frames { first, other });
    }
    let (width, height, count) = (first.0 as usize, first.1 as usize, images.len());
    let tensor = |name: &str, shape: Vec<usize>, bytes: Vec<u8>| {
        let made = Tensor::new(DataType::U8, shape, bytes.into());
        made.map(|tensor| (name.to_owned(), tensor)).map_err(|source| tensor_error(name, source))
    };
    let pixels = images.iter().map(|image| image.borrow().pixels());
    match frames {
        Frames::Rgb => {
            let bytes = pixels.collect::<Vec<_>>().concat();
            Ok(vec![tensor(&input.tensor, vec![count, height, width, 3], bytes)?])
        }
        Frames::Bgr => {
            let swapped = |row: &[u8]| {
                row.as_chunks::<3>().0.iter().flat_map(|[r, g, b]| [*b, *g, *r]).collect::<Vec<_>>()
            };
            let bytes = pixels.flat_map(swapped).collect();
            Ok(vec![tensor(&input.tensor, vec![count, height, width, 3], bytes)?])
        }
        Frames::Nv12 { uv, matrix } => {
            let (mut light, mut colour) = (Vec::new(), Vec::new());
            for image in images {
                let planes = image.borrow().to_nv12(*matrix);
                light.extend(planes.0);
                colour.extend(planes.1);
            }
            let half = vec![count, height.div_ceil(2), width.div_ceil(2), 2];
            Ok(vec![tensor(&input.tensor, vec![count, height, width], light)?, tensor(uv, half, colour)?])
        }
    }
}

/// Factors from limited-range brightness (minus 16) and colour (minus 128) to red, green and blue of 0–255.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ToRgb {
    /// Brightness in each of them.
    pub(crate) light: f32,
    /// Cr in red.
    pub(crate) red: f32,
    /// Cb and Cr in green.
    pub(crate) green: (f32, f32),
    /// Cb in blue.
    pub(crate) blue: f32,
}

/// Shares of red and blue in brightness.
fn shares(matrix: Matrix) -> (f64, f64) {
    match matrix {
        Matrix::Bt601 => (0.299, 0.114),
        Matrix::Bt709 => (0.2126, 0.0722),
    }
}

impl ToRgb {
    pub(crate) fn new(matrix: Matrix) -> Self {
        let (kr, kb) = shares(matrix);
        let colour = 255.0 / 224.0;
        let (red, blue) = (2.0 * (1.0 - kr) * colour, 2.0 * (1.0 - kb) * colour);
        let kg = 1.0 - kr - kb;
        Self {
            light: (255.0 / 219.0) as f32,
            red: red as f32,
            green: ((-blue * kb / kg) as f32, (-red * kr / kg) as f32),
            blue: blue as f32,
        }
    }

    /// The operations in this order, each rounded, are also those of the graph.
    fn pixel(&self, light: u8, cb: u8, cr: u8) -> [u8; 3] {
        let light = (f32::from(light) - 16.0) * self.light;
        let (cb, cr) = (f32::from(cb) - 128.0, f32::from(cr) - 128.0);
        let values =
            [light + cr * self.red, (light + cb * self.green.0) + cr * self.green.1, light + cb * self.blue];
        values.map(|value| (value + 0.5).clamp(0.0, 255.0) as u8)
    }
}

impl Image {
    /// The image of an NV12 frame of limited range: `light` is `width × height` bytes, `colour` half of each, rounded up,
    /// with two bytes (Cb, Cr) each.
    ///
    /// # Errors
    /// [`Error::ImageSize`] when the bytes are of another number, or as [`Image::new`].
    pub fn from_nv12(
        (width, height): (u32, u32),
        light: &[u8],
        colour: &[u8],
        matrix: Matrix,
    ) -> Result<Self, Error> {
        let half = u64::from(width.div_ceil(2)) * 2;
        let expected = (u64::from(width) * u64::from(height), half * u64::from(height.div_ceil(2)));
        if (light.len() as u64, colour.len() as u64) != expected {
            let reason = format!("{} and {} bytes of NV12", light.len(), colour.len());
            return Err(Error::ImageSize { width, height, reason });
        }
        let to_rgb = ToRgb::new(matrix);
        let (row, half) = (width as usize, half as usize);
        let mut pixels = Vec::with_capacity(light.len() * 3);
        for (y, light) in light.chunks_exact(row.max(1)).enumerate() {
            let colour = &colour[y / 2 * half..(y / 2 + 1) * half];
            for (x, light) in light.iter().enumerate() {
                let at = x / 2 * 2;
                pixels.extend(to_rgb.pixel(*light, colour[at], colour[at + 1]));
            }
        }
        Self::new(width, height, pixels)
    }

    /// The image as NV12 of limited range: brightness, and the mean colour of each block of 2 × 2 pixels.
    pub fn to_nv12(&self, matrix: Matrix) -> (Vec<u8>, Vec<u8>) {
        let (kr, kb) = shares(matrix);
        let (width, height) = (self.width() as usize, self.height() as usize);
        let byte = |value: f64| (value + 0.5).clamp(0.0, 255.0) as u8;
        let light_of = |[r, g, b]: [f64; 3]| kr * r + (1.0 - kr - kb) * g + kb * b;
        let pixels = self.pixels().as_chunks::<3>().0;
        let light =
            pixels.iter().map(|pixel| byte(16.0 + 219.0 / 255.0 * light_of(pixel.map(f64::from)))).collect();
        let mut colour = Vec::with_capacity(width.div_ceil(2) * height.div_ceil(2) * 2);
        for top in (0..height).step_by(2) {
            for left in (0..width).step_by(2) {
                let (mut sum, mut count) = ([0.0; 3], 0.0);
                for y in top..(top + 2).min(height) {
                    for pixel in &pixels[y * width + left..y * width + (left + 2).min(width)] {
                        sum.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += f64::from(*value));
                        count += 1.0;
                    }
                }
                let mean = sum.map(|sum| sum / count);
                let light = light_of(mean);
                let part = |value: f64, share: f64| {
                    byte(128.0 + 224.0 / 255.0 * (value - light) / (2.0 * (1.0 - share)))
                };
                colour.extend([part(mean[2], kb), part(mean[0], kr)]);
            }
        }
        (light, colour)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::tests::detector;
    use crate::preprocess;

    #[test]
    fn known_colours_come_and_go() {
        // The colour bars of the two standards, at full brightness and limited range.
        let cases = [
            (Matrix::Bt601, [255, 255, 255], (235, 128, 128)),
            (Matrix::Bt601, [0, 0, 0], (16, 128, 128)),
            (Matrix::Bt601, [255, 0, 0], (81, 90, 240)),
            (Matrix::Bt601, [0, 0, 255], (41, 240, 110)),
            (Matrix::Bt709, [255, 0, 0], (63, 102, 240)),
            (Matrix::Bt709, [0, 255, 0], (173, 42, 26)),
            (Matrix::Bt709, [0, 0, 255], (32, 240, 118)),
        ];
        for (matrix, colour, (light, cb, cr)) in cases {
            // Three by three: the last row and column have a colour of their own.
            let image = Image::filled(3, 3, colour).unwrap();
            let planes = image.to_nv12(matrix);
            assert_eq!(planes, (vec![light; 9], [cb, cr].repeat(4)), "{matrix:?} {colour:?}");
            let back = Image::from_nv12((3, 3), &planes.0, &planes.1, matrix).unwrap();
            for (found, expected) in back.pixels().iter().zip(image.pixels()) {
                assert!(found.abs_diff(*expected) <= 2, "{matrix:?} {colour:?}: {back:?}");
            }
        }
        assert!(Image::from_nv12((3, 3), &[0; 9], &[0; 6], Matrix::Bt601).is_err());
        assert!(Image::from_nv12((0, 0), &[], &[], Matrix::Bt601).is_err());
    }

    #[test]
    fn frames_are_the_pixels_and_their_boxes_stay() {
        let mut input = detector().input;
        let image = Image::new(3, 1, vec![1, 2, 3, 4, 5, 6, 7, 8, 9]).unwrap();
        input.frames = Some(Frames::Bgr);
        let made = preprocess(&input, &[&image, &image]).unwrap();
        assert_eq!(made.inputs[0].1.shape(), [2, 1, 3, 3]);
        assert_eq!(made.inputs[0].1.bytes()[..9], [3, 2, 1, 6, 5, 4, 9, 8, 7]);
        let b = crate::Xyxy::new(0.5, 0.0, 2.0, 1.0);
        assert_eq!(made.geometries[1].from_input_pixels(b), b);
        input.frames = Some(Frames::nv12(Matrix::Bt709));
        let made = preprocess(&input, &[&image]).unwrap().inputs;
        assert_eq!((made[0].1.shape(), made[1].1.shape()), (&[1, 1, 3][..], &[1, 1, 2, 2][..]));
        assert_eq!(made[1].0, "frames_uv");
        let other = Image::filled(2, 2, [0; 3]).unwrap();
        let error = preprocess(&input, &[&image, &other]).unwrap_err();
        assert!(matches!(error, Error::Frames { first: (3, 1), other: (2, 2) }), "{error}");
    }
}

//! Resizing of RGB bytes.
//!
//! Kernels that widen with the reduction are `fast_image_resize`'s. Bilinear *without* antialiasing is written out here:
//! `OpenCV` rounds once, after both directions, and a resizer that rounds in between misses the bound of half a level.

use fast_image_resize::images::{Image as Pixels, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::{Error, Filter, Image};

/// The bytes of a resized image; borrowed where the size is right already.
pub(crate) enum Resized<'a> {
    AsIs(&'a [u8]),
    Made(Vec<u8>),
}

impl AsRef<[u8]> for Resized<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::AsIs(pixels) => pixels,
            Self::Made(pixels) => pixels,
        }
    }
}

/// Resizes to `size` (width, height), both at least 1.
pub(crate) fn resize(
    image: &Image,
    size: (u32, u32),
    filter: Filter,
    antialias: bool,
) -> Result<Resized<'_>, Error> {
    if (image.width(), image.height()) == size {
        return Ok(Resized::AsIs(image.pixels()));
    }
    if filter == Filter::Bilinear && !antialias {
        return Ok(Resized::Made(bilinear(image, (size.0 as usize, size.1 as usize))));
    }
    let refuse = |reason: String| Error::Resize { reason };
    let source = ImageRef::new(image.width(), image.height(), image.pixels(), PixelType::U8x3)
        .map_err(|error| refuse(error.to_string()))?;
    let mut made = Pixels::new(size.0, size.1, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(algorithm(filter, antialias)).use_alpha(false);
    Resizer::new().resize(&source, &mut made, &options).map_err(|error| refuse(error.to_string()))?;
    Ok(Resized::Made(made.into_vec()))
}

fn algorithm(filter: Filter, antialias: bool) -> ResizeAlg {
    let kernel = match filter {
        Filter::Nearest => return ResizeAlg::Nearest,
        Filter::Box => FilterType::Box,
        Filter::Bilinear => FilterType::Bilinear,
        Filter::Hamming => FilterType::Hamming,
        Filter::Bicubic => FilterType::CatmullRom,
        Filter::Lanczos => FilterType::Lanczos3,
    };
    if antialias { ResizeAlg::Convolution(kernel) } else { ResizeAlg::Interpolation(kernel) }
}

/// Where an output position reads: two source positions, and the second one's weight.
#[derive(Clone, Copy)]
struct Tap {
    first: usize,
    second: usize,
    weight: f32,
}

/// Bilinear interpolation of the four nearest pixels, half-pixel centres, edges repeated.
fn bilinear(image: &Image, (width, height): (usize, usize)) -> Vec<u8> {
    let source_row = image.width() as usize * 3;
    let columns = taps(image.width() as usize, width);
    let mut blended = vec![0.0_f32; source_row];
    let mut made = vec![0_u8; width * height * 3];
    for (out, row) in made.chunks_exact_mut(width * 3).zip(taps(image.height() as usize, height)) {
        let line = |row: usize| &image.pixels()[row * source_row..(row + 1) * source_row];
        for (blended, (&a, &b)) in blended.iter_mut().zip(line(row.first).iter().zip(line(row.second))) {
            *blended = f32::from(a) + (f32::from(b) - f32::from(a)) * row.weight;
        }
        let pixels = blended.as_chunks::<3>().0;
        for (out, column) in out.as_chunks_mut::<3>().0.iter_mut().zip(&columns) {
            let (a, b) = (pixels[column.first], pixels[column.second]);
            *out = std::array::from_fn(|c| (a[c] + (b[c] - a[c]) * column.weight + 0.5) as u8);
        }
    }
    made
}

fn taps(source: usize, target: usize) -> Vec<Tap> {
    let step = source as f64 / target as f64;
    let tap = |at: usize| {
        let position = ((at as f64 + 0.5) * step - 0.5).max(0.0);
        let first = (position as usize).min(source - 1);
        Tap { first, second: (first + 1).min(source - 1), weight: (position - first as f64) as f32 }
    };
    (0..target).map(tap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resized(image: &Image, size: (u32, u32), filter: Filter, antialias: bool) -> Vec<u8> {
        resize(image, size, filter, antialias).unwrap().as_ref().to_vec()
    }

    fn ramp() -> Image {
        Image::new(4, 1, [0, 40, 80, 120].iter().flat_map(|&v| [v, v + 1, v + 2]).collect()).unwrap()
    }

    #[test]
    fn a_ramp_is_sampled_between_its_pixels() {
        let cases: [(&str, u32, bool, &[u8]); 4] = [
            ("enlarged", 8, false, &[0, 10, 30, 50, 70, 90, 110, 120]),
            ("halved", 2, false, &[20, 100]),
            ("to one, nearest two only", 1, false, &[60]),
            ("to one, all of it", 1, true, &[60]),
        ];
        for (name, width, antialias, expected) in cases {
            let found = resized(&ramp(), (width, 1), Filter::Bilinear, antialias);
            assert_eq!(found.iter().step_by(3).copied().collect::<Vec<_>>(), expected, "{name}");
            assert!(found.as_chunks::<3>().0.iter().all(|[r, g, b]| (*g, *b) == (r + 1, r + 2)), "{name}");
        }
    }

    #[test]
    fn one_colour_stays_that_colour() {
        let image = Image::filled(37, 23, [0, 127, 255]).unwrap();
        for filter in [
            Filter::Nearest,
            Filter::Box,
            Filter::Bilinear,
            Filter::Hamming,
            Filter::Bicubic,
            Filter::Lanczos,
        ] {
            for antialias in [false, true] {
                for size in [(1, 1), (8, 50), (64, 3)] {
                    let found = resized(&image, size, filter, antialias);
                    assert_eq!(
                        found,
                        [0, 127, 255].repeat((size.0 * size.1) as usize),
                        "{filter:?} {size:?}"
                    );
                }
            }
        }
    }
}

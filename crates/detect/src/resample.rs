//! Resizing of RGB bytes.
//!
//! Kernels that widen with the reduction are `fast_image_resize`'s. Bilinear and bicubic *without* antialiasing are written
//! out here: `OpenCV` and `PyTorch` round once, after both directions, and a resizer that rounds in between misses the
//! bound of half a level. Their cubic is also another one than PIL's: a = −0.75.

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
    let plain = (size.0 as usize, size.1 as usize);
    match filter {
        Filter::Bilinear if !antialias => return Ok(Resized::Made(bilinear(image, plain))),
        Filter::Bicubic if !antialias => return Ok(Resized::Made(bicubic(image, plain))),
        _ => {}
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

/// Sharpness of the cubic of `OpenCV` and `PyTorch`.
const CUBIC: f64 = -0.75;

/// Where an output position reads four source positions, and their weights.
#[derive(Clone, Copy)]
struct CubicTap {
    places: [usize; 4],
    weights: [f32; 4],
}

/// Bicubic interpolation of the sixteen nearest pixels, half-pixel centres, edges repeated.
fn bicubic(image: &Image, (width, height): (usize, usize)) -> Vec<u8> {
    let source_row = image.width() as usize * 3;
    let columns = cubic_taps(image.width() as usize, width);
    let mut blended = vec![0.0_f32; source_row];
    let mut made = vec![0_u8; width * height * 3];
    for (out, tap) in made.chunks_exact_mut(width * 3).zip(cubic_taps(image.height() as usize, height)) {
        let lines = tap.places.map(|row| &image.pixels()[row * source_row..(row + 1) * source_row]);
        for (at, blended) in blended.iter_mut().enumerate() {
            *blended = (0..4).map(|row| f32::from(lines[row][at]) * tap.weights[row]).sum();
        }
        let pixels = blended.as_chunks::<3>().0;
        for (out, tap) in out.as_chunks_mut::<3>().0.iter_mut().zip(&columns) {
            let sum = |c: usize| (0..4).map(|at| pixels[tap.places[at]][c] * tap.weights[at]).sum::<f32>();
            // The cubic overshoots at edges; the cast keeps it in 0–255.
            *out = std::array::from_fn(|c| (sum(c) + 0.5) as u8);
        }
    }
    made
}

fn cubic_taps(source: usize, target: usize) -> Vec<CubicTap> {
    let step = source as f64 / target as f64;
    let tap = |at: usize| {
        let position = (at as f64 + 0.5) * step - 0.5;
        let left = position.floor();
        let away = position - left;
        let places = std::array::from_fn(|tap| {
            let place = left + tap as f64 - 1.0;
            if place < 0.0 { 0 } else { (place as usize).min(source - 1) }
        });
        let near = |x: f64| ((CUBIC + 2.0) * x - (CUBIC + 3.0)) * x * x + 1.0;
        let far = |x: f64| ((CUBIC * x - 5.0 * CUBIC) * x + 8.0 * CUBIC) * x - 4.0 * CUBIC;
        let weights = [far(away + 1.0), near(away), near(1.0 - away), far(2.0 - away)];
        CubicTap { places, weights: weights.map(|weight| weight as f32) }
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
    fn the_plain_cubic_is_that_of_pytorch() {
        // `torch.nn.functional.interpolate(…, mode="bicubic")`, rounded and clamped.
        let row = |values: &[u8]| {
            Image::new(values.len() as u32, 1, values.iter().flat_map(|&v| [v; 3]).collect()).unwrap()
        };
        let source = row(&[0, 255, 10, 200, 90, 255]);
        let cases: [(u32, &[u8]); 3] = [
            (3, &[150, 92, 162]),
            (4, &[66, 54, 189, 214]),
            (11, &[0, 89, 244, 171, 13, 92, 202, 130, 101, 200, 255]),
        ];
        for (width, expected) in cases {
            let found = resized(&source, (width, 1), Filter::Bicubic, false);
            assert_eq!(found.iter().step_by(3).copied().collect::<Vec<_>>(), expected, "{width}");
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

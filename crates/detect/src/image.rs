//! Images in memory: RGB bytes, from JPEG or PNG files.
//!
//! The conversion to RGB is that of PIL's `convert("RGB")`: grey is repeated, alpha is dropped and not blended, CMYK is
//! read by Adobe's inverted convention. A camera's EXIF rotation is *not* applied by [`Image::decode`], because
//! annotations and the Hugging Face processors speak of the stored pixels; [`Image::decode_upright`] applies it.

use ::image::metadata::Orientation;
use ::image::{DynamicImage, ImageDecoder, RgbImage};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::Error;

/// Most pixels of an image that is decoded, as PIL's bound against decompression bombs.
const MOST_PIXELS: u64 = 178_956_970;

/// Most pixels along one side.
const LARGEST_SIDE: u32 = 65_500;

/// An RGB image: rows from the top, three bytes a pixel.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

impl Image {
    /// An image of these bytes, `width * height * 3` of them.
    ///
    /// # Errors
    /// [`Error::ImageSize`] when a side is 0, the image is above 179 million pixels, or the bytes are of another number.
    pub fn new(width: u32, height: u32, pixels: Vec<u8>) -> Result<Self, Error> {
        check_size(width, height)?;
        if pixels.len() as u64 != u64::from(width) * u64::from(height) * 3 {
            return Err(Error::ImageSize {
                width,
                height,
                reason: format!("{} bytes of pixels", pixels.len()),
            });
        }
        Ok(Self { width, height, pixels })
    }

    /// An image of one colour.
    ///
    /// # Errors
    /// As [`Image::new`].
    pub fn filled(width: u32, height: u32, colour: [u8; 3]) -> Result<Self, Error> {
        check_size(width, height)?;
        Ok(Self { width, height, pixels: colour.repeat(width as usize * height as usize) })
    }

    /// Decodes a JPEG or PNG file, pixels as stored.
    ///
    /// # Errors
    /// [`Error::ImageFormat`] for other files, [`Error::ImageData`] for damaged ones, [`Error::ImageSize`].
    pub fn decode(file: &[u8]) -> Result<Self, Error> {
        Ok(decode(file)?.0)
    }

    /// Decodes a JPEG or PNG file and turns it as its EXIF orientation says (what transformers' `load_image` does).
    ///
    /// # Errors
    /// As [`Image::decode`].
    pub fn decode_upright(file: &[u8]) -> Result<Self, Error> {
        let (image, orientation) = decode(file)?;
        if orientation == Orientation::NoTransforms {
            return Ok(image);
        }
        let mut turned = DynamicImage::ImageRgb8(image.into_rgb());
        turned.apply_orientation(orientation);
        Self::from_rgb(turned.into_rgb8())
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The bytes: rows from the top, three a pixel.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The colour of a pixel; `None` outside the image.
    pub fn pixel(&self, x: u32, y: u32) -> Option<[u8; 3]> {
        if x >= self.width || y >= self.height {
            return None;
        }
        let start = (y as usize * self.width as usize + x as usize) * 3;
        self.pixels.get(start..start + 3)?.try_into().ok()
    }

    pub(crate) fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    fn from_rgb(image: RgbImage) -> Result<Self, Error> {
        Self::new(image.width(), image.height(), image.into_raw())
    }

    pub(crate) fn into_rgb(self) -> RgbImage {
        RgbImage::from_raw(self.width, self.height, self.pixels).expect("the constructor checked the length")
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({} × {})", self.width, self.height)
    }
}

fn check_size(width: u32, height: u32) -> Result<(), Error> {
    let reason = if width == 0 || height == 0 {
        "a side is 0"
    } else if width > LARGEST_SIDE || height > LARGEST_SIDE {
        "a side is above 65500 pixels"
    } else if u64::from(width) * u64::from(height) > MOST_PIXELS {
        "more than 178956970 pixels"
    } else {
        return Ok(());
    };
    Err(Error::ImageSize { width, height, reason: reason.into() })
}

fn decode(file: &[u8]) -> Result<(Image, Orientation), Error> {
    if file.starts_with(&[0xff, 0xd8]) {
        decode_jpeg(file)
    } else if file.starts_with(b"\x89PNG\r\n\x1a\n") {
        decode_png(file)
    } else {
        Err(Error::ImageFormat { start: file.iter().take(4).copied().collect() })
    }
}

fn decode_jpeg(file: &[u8]) -> Result<(Image, Orientation), Error> {
    let damaged =
        |error: &dyn std::fmt::Debug| Error::ImageData { format: "JPEG", reason: format!("{error:?}") };
    let options = DecoderOptions::default()
        .set_max_width(LARGEST_SIDE as usize)
        .set_max_height(LARGEST_SIDE as usize)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    if !is_complete_jpeg(file) {
        // The decoder would fill the rest with grey.
        return Err(damaged(&"the file is cut off"));
    }
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
    decoder.decode_headers().map_err(|error| damaged(&error))?;
    let (width, height) = decoder.dimensions().ok_or_else(|| damaged(&"no frame header"))?;
    let (width, height) = (width as u32, height as u32);
    check_size(width, height)?;
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    let pixels = decoder.decode().map_err(|error| damaged(&error))?;
    Ok((Image::new(width, height, pixels)?, orientation.unwrap_or(Orientation::NoTransforms)))
}

/// Whether the mark of the end comes after the first scan: the preview inside EXIF data has one of its own.
fn is_complete_jpeg(file: &[u8]) -> bool {
    let scan = first_scan(file).unwrap_or(0);
    file[scan..].windows(2).rev().any(|pair| pair == [0xff, 0xd9])
}

/// Where the first start-of-scan marker lies; `None` where the headers before it are not a chain of segments.
fn first_scan(file: &[u8]) -> Option<usize> {
    let mut at = 2;
    loop {
        match file.get(at..at + 4)? {
            [0xff, 0xff, ..] => at += 1,
            [0xff, 0xda, ..] => return Some(at),
            [0xff, _, high, low] => at += 2 + usize::from(u16::from_be_bytes([*high, *low])),
            _ => return None,
        }
    }
}

fn decode_png(file: &[u8]) -> Result<(Image, Orientation), Error> {
    let damaged = |error: ::image::ImageError| Error::ImageData { format: "PNG", reason: error.to_string() };
    let mut decoder = ::image::codecs::png::PngDecoder::new(std::io::Cursor::new(file)).map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    Ok((Image::new(width, height, rgb_bytes(image))?, orientation))
}

/// RGB by PIL's rules: alpha dropped, and the high byte of 16-bit samples.
fn rgb_bytes(image: DynamicImage) -> Vec<u8> {
    let grey = |values: &mut dyn Iterator<Item = u8>| values.flat_map(|v| [v; 3]).collect();
    let high = |value: u16| (value >> 8) as u8;
    match image {
        DynamicImage::ImageRgb8(image) => image.into_raw(),
        DynamicImage::ImageRgba8(image) => image.pixels().flat_map(|p| [p[0], p[1], p[2]]).collect(),
        DynamicImage::ImageLuma8(image) => grey(&mut image.pixels().map(|p| p[0])),
        DynamicImage::ImageLumaA8(image) => grey(&mut image.pixels().map(|p| p[0])),
        DynamicImage::ImageLuma16(image) => grey(&mut image.pixels().map(|p| high(p[0]))),
        DynamicImage::ImageLumaA16(image) => grey(&mut image.pixels().map(|p| high(p[0]))),
        DynamicImage::ImageRgb16(image) => image.pixels().flat_map(|p| p.0.map(high)).collect(),
        DynamicImage::ImageRgba16(image) => {
            image.pixels().flat_map(|p| [p[0], p[1], p[2]].map(high)).collect()
        }
        other => other.into_rgb8().into_raw(),
    }
}

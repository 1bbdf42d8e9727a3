//! Sample images for the report: JPEG, and no larger than a page needs.
//!
//! They are never PNG in the HTML: readers of these reports count `data:image/png` to see that the five charts are
//! inlined.

use std::collections::BTreeMap;
use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{ImageFormat, ImageReader, Limits};

use super::Sample;
use crate::Error;

/// Longest side in the report, in pixels.
const SIDE: u32 = 800;
/// JPEG quality.
const QUALITY: u8 = 88;
/// Longest side that is read at all.
const LARGEST: u32 = 16_384;

/// The listed images by path, as JPEG.
pub(super) fn all(
    samples: &[Sample],
    images: &BTreeMap<String, Vec<u8>>,
) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    samples.iter().map(|sample| Ok((sample.path.clone(), one(&sample.path, images)?))).collect()
}

fn one(path: &str, images: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>, Error> {
    let bytes = images.get(path).ok_or_else(|| Error::Sample { path: path.to_owned(), source: None })?;
    let unreadable = |error| Error::Sample { path: path.to_owned(), source: Some(error) };
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| unreadable(image::ImageError::IoError(error)))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(LARGEST);
    limits.max_image_height = Some(LARGEST);
    reader.limits(limits);
    let format = reader.format();
    let picture = reader.decode().map_err(unreadable)?;
    let fits = picture.width().max(picture.height()) <= SIDE;
    if fits && format == Some(ImageFormat::Jpeg) {
        return Ok(bytes.clone());
    }
    let picture = if fits { picture } else { picture.resize(SIDE, SIDE, FilterType::Triangle) };
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY).encode_image(&picture.to_rgb8()).map_err(unreadable)?;
    Ok(jpeg)
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, RgbImage};

    use super::*;

    fn encoded(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        let picture =
            DynamicImage::from(RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 128])));
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn sample(bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
        let sample = Sample { path: "samples/a".into(), image: "a".into(), detections: 0, objects: None };
        let mut photos = all(&[sample], &BTreeMap::from([("samples/a".to_owned(), bytes)]))?;
        Ok(photos.remove("samples/a").unwrap())
    }

    #[test]
    fn every_photo_is_a_small_jpeg() {
        let small = encoded(100, 60, ImageFormat::Jpeg);
        assert_eq!(sample(small.clone()).unwrap(), small, "a small JPEG stays as it is");
        for (bytes, size) in [
            (encoded(100, 60, ImageFormat::Png), (100, 60)),
            (encoded(1600, 800, ImageFormat::Png), (800, 400)),
            (encoded(1000, 2000, ImageFormat::Jpeg), (400, 800)),
        ] {
            let photo = sample(bytes).unwrap();
            assert!(photo.starts_with(&[0xFF, 0xD8]));
            let read = image::load_from_memory(&photo).unwrap();
            assert_eq!((read.width(), read.height()), size);
        }
    }

    #[test]
    fn what_is_no_picture_is_named() {
        assert!(matches!(sample(b"no picture".to_vec()), Err(Error::Sample { source: Some(_), .. })));
        let absent = Sample { path: "samples/b".into(), image: "b".into(), detections: 0, objects: None };
        assert!(matches!(all(&[absent], &BTreeMap::new()), Err(Error::Sample { source: None, .. })));
    }
}

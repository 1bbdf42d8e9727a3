//! Preprocessing against the Hugging Face processors, PIL and Ultralytics' rule (`fixtures/make_preprocess.py`).

use std::collections::BTreeMap;

use detect::{Geometry, Image, ImageInput, preprocess};
use serde::Deserialize;

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
    decoded: BTreeMap<String, (u32, u32)>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    image: String,
    /// Left, top, width, height of the stored part.
    crop: (usize, usize, usize, usize),
    /// Channel, row, column, value of the processor's tensor.
    samples: Vec<(usize, usize, usize, f32)>,
    mask_ones: Option<i64>,
    mask_at: Option<(u32, u32)>,
    input: ImageInput,
}

fn fixture(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/preprocess").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn cases() -> Cases {
    serde_json::from_slice(&fixture("cases.json")).unwrap()
}

#[test]
fn tensors_equal_the_processors() {
    let mut worst = 0.0_f64;
    for case in cases().cases {
        let image = Image::decode(&fixture(&case.image)).unwrap();
        let made = preprocess(&case.input, &[&image]).unwrap();
        let tensor = made.inputs[0].1.to_f32().unwrap();
        let (width, height) = (case.input.width as usize, case.input.height as usize);
        assert_eq!(made.inputs[0].1.shape(), [1, 3, height, width], "{}", case.name);

        // In units of 1/255, as the bound is given.
        let expected = Image::decode(&fixture(&format!("{}.png", case.name))).unwrap();
        let (left, top, w, h) = case.crop;
        let mask = made.inputs.get(1).map(|(_, mask)| mask.to_i64().unwrap());
        let (mut sum, mut most) = (0.0_f64, 0.0_f64);
        for (at, bytes) in expected.pixels().chunks_exact(3).enumerate() {
            let (x, y) = (left + at % w, top + at / w);
            for channel in 0..3 {
                let value = tensor[(channel * height + y) * width + x];
                if mask.as_ref().is_some_and(|mask| mask[y * width + x] == 0) {
                    assert_eq!(value, 0.0, "{}: padding at {x}, {y}", case.name);
                    continue;
                }
                let pixel = (value * case.input.std[channel] + case.input.mean[channel]) * 255.0;
                let difference = (f64::from(pixel) - f64::from(bytes[channel])).abs();
                sum += difference;
                most = most.max(difference);
            }
        }
        let mean = sum / (w * h * 3) as f64;
        println!("{:<24} mean {mean:.3}/255 max {most:.1}/255", case.name);
        worst = worst.max(mean);
        assert!(mean <= 0.5, "{}: mean difference {mean}/255", case.name);

        for (channel, y, x, expected) in case.samples {
            let value = tensor[(channel * height + y) * width + x];
            let pixels = (value - expected).abs() * case.input.std[channel] * 255.0;
            assert!(pixels <= 8.0, "{}: {value} is not {expected} at {channel}, {y}, {x}", case.name);
        }
        if let (Some(ones), Some(corner), Some(mask)) = (case.mask_ones, case.mask_at, mask) {
            assert_eq!(mask.iter().sum::<i64>(), ones, "{}", case.name);
            assert_eq!(made.geometries[0].resized, corner, "{}", case.name);
        }
    }
    println!("worst mean difference {worst:.3}/255");
}

#[test]
fn every_colour_mode_decodes_as_in_pil() {
    for (name, size) in cases().decoded {
        let image = Image::decode(&fixture(&name)).unwrap();
        let expected = Image::decode(&fixture(&format!("decoded_{}.png", name.replace('.', "_")))).unwrap();
        assert_eq!((image.width(), image.height()), size, "{name}");
        let differences =
            image.pixels().iter().zip(expected.pixels()).map(|(a, b)| f64::from(a.abs_diff(*b)));
        let mean = differences.sum::<f64>() / image.pixels().len() as f64;
        println!("{name:<16} mean {mean:.3}");
        let bound = if name.ends_with("png") { 0.0 } else { 0.5 };
        assert!(mean <= bound, "{name}: mean difference {mean}");
    }
}

#[test]
fn a_camera_rotation_is_applied_only_when_asked_for() {
    let file = fixture("rotated.jpg");
    let (stored, upright) = (Image::decode(&file).unwrap(), Image::decode_upright(&file).unwrap());
    assert_eq!((stored.width(), stored.height()), (61, 45));
    assert_eq!((upright.width(), upright.height()), (45, 61));
    // Orientation 6: the stored top left corner is the upright top right one.
    assert_eq!(stored.pixel(0, 0), upright.pixel(44, 0));
    assert_eq!(stored.pixel(60, 0), upright.pixel(44, 60));
}

#[test]
fn damaged_files_are_errors() {
    let jpeg = fixture("000117.jpg");
    let png = fixture("rgba.png");
    for cut in [jpeg.len() / 4, jpeg.len() / 2, jpeg.len() - 400, jpeg.len() - 2] {
        assert!(Image::decode(&jpeg[..cut]).is_err(), "a JPEG cut at {cut} of {}", jpeg.len());
    }
    for file in [&b""[..], b"GIF89a", &jpeg[..2], &jpeg[..30], &png[..8], &png[..40], &png[..png.len() / 2]] {
        assert!(Image::decode(file).is_err(), "{} bytes", file.len());
    }
    // Every byte of the headers in turn: an error or a picture, never a panic.
    for file in [jpeg, png] {
        for at in 0..file.len().min(700) {
            for value in [0, 0xff, file[at] ^ 0x55] {
                let mut damaged = file.clone();
                damaged[at] = value;
                // Shorter, so that the test is quick, but with its end.
                let end = damaged.len() - 2;
                damaged.drain(end.min(3998)..end);
                let _ = Image::decode(&damaged);
            }
        }
    }
}

#[test]
fn an_image_of_the_tensors_size_is_taken_as_it_is() {
    let mut input = cases().cases.remove(0).input;
    (input.width, input.height, input.scale) = (61, 45, 1.0);
    let image = Image::decode(&fixture("rgba.png")).unwrap();
    let tensor = preprocess(&input, &[&image]).unwrap().inputs[0].1.to_f32().unwrap();
    for (at, pixel) in image.pixels().chunks_exact(3).enumerate() {
        assert_eq!(
            [tensor[at], tensor[61 * 45 + at], tensor[2 * 61 * 45 + at]],
            [0, 1, 2].map(|c| f32::from(pixel[c]))
        );
    }
    assert_eq!(Geometry::new(&input, (61, 45)).resized, (61, 45));
}

//! Finds objects in images with ONNX Runtime: `cargo run --release -- IMAGE...`
//!
//! Made for nv12 from its detector.json. ONNX Runtime (1.17 or later) is loaded when the program starts: set
//! ORT_DYLIB_PATH to libonnxruntime.so, libonnxruntime.dylib or onnxruntime.dll.

#![allow(dead_code, reason = "some parts are for other kinds of detector")]

use std::error::Error;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;
use ort::session::{Session, SessionOutputs};
use ort::value::Tensor;

type Outputs<'a> = SessionOutputs<'a>;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../nv12.onnx");
const LABELS: &[(u32, &str)] = &[
    (0, "circle"),
    (1, "square"),
    (2, "a \"quoted\" | one"),
    (3, "star"),
];

const WIDTH: usize = 48;
const HEIGHT: usize = 64;
const SCALE: f64 = 0.003921569;
const MEAN: [f64; 3] = [0.0, 0.0, 0.0];
const STD: [f64; 3] = [1.0, 1.0, 1.0];
/// Value of the tensor outside the image, by plane.
const PADDING: [f64; 3] = [0.0; 3];
/// The plane that red, green and blue go to.
const PLANES: [usize; 3] = [0, 1, 2];
const THRESHOLD: f32 = 0.5;
const MOST: usize = 300;

type Element = f32;

/// Where the image lies in the tensor, and the way back for its boxes.
struct Place {
    original: (usize, usize),
    size: (usize, usize),
    corner: (usize, usize),
    /// Original pixels that 0–1 spans, by axis.
    per_unit: (f64, f64),
    /// Original pixels in a pixel of the tensor, by axis.
    per_pixel: (f64, f64),
}

struct Detection {
    label: u32,
    score: f32,
    bbox: [f32; 4],
}

/// Values of an output and its dimensions after the batch.
struct Values {
    data: Vec<f32>,
    shape: Vec<usize>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let environment = ort::init().build()?;
    let mut session = Session::builder(&environment)?.commit_from_file(MODEL)?;
    for path in std::env::args().skip(1) {
        let image = image::open(&path)?.to_rgb8();
        let place = place(image.width() as usize, image.height() as usize);
        let (light, colour) = nv12(&image);
        let outputs = session.run(ort::inputs![
            "frames_y" => Tensor::from_array(([1, image.height() as usize, image.width() as usize], light))?,
            "frames_uv" => Tensor::from_array(([1, (image.height() as usize).div_ceil(2), (image.width() as usize).div_ceil(2), 2], colour))?,
        ])?;
        let found = detections(&outputs, &place)?;
        println!("{path}: {} found", found.len());
        for Detection { label, score, bbox: [x1, y1, x2, y2] } in found {
            let name = LABELS.iter().find(|(id, _)| *id == label).map_or("?", |(_, name)| name);
            println!("  {score:.3}  {name:<20} {x1:8.1} {y1:8.1} {x2:8.1} {y2:8.1}");
        }
    }
    Ok(())
}

fn place(width: usize, height: usize) -> Place {
    let (w, h) = (width as f64, height as f64);
    Place {
        original: (width, height),
        size: (WIDTH, HEIGHT),
        corner: (0, 0),
        per_unit: (w, h),
        per_pixel: (w / WIDTH as f64, h / HEIGHT as f64),
    }
}

fn tensor(image: &RgbImage, place: &Place) -> Result<Vec<Element>, Box<dyn Error>> {
    let (width, height) = place.size;
    let source = ImageRef::new(image.width(), image.height(), image.as_raw(), PixelType::U8x3)?;
    let mut resized = Image::new(width as u32, height as u32, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Interpolation(FilterType::CatmullRom)).use_alpha(false);
    Resizer::new().resize(&source, &mut resized, &options)?;
    let mut out = Vec::with_capacity(3 * WIDTH * HEIGHT);
    for padding in PADDING {
        out.resize(out.len() + WIDTH * HEIGHT, element(padding));
    }
    for (index, pixel) in resized.buffer().chunks_exact(3).enumerate() {
        let at = (place.corner.1 + index / width) * WIDTH + place.corner.0 + index % width;
        for (plane, byte) in PLANES.into_iter().zip(pixel) {
            let value = (f64::from(*byte) * SCALE - MEAN[plane]) / STD[plane];
            out[plane * WIDTH * HEIGHT + at] = element(value);
        }
    }
    Ok(out)
}

fn element(value: f64) -> Element {
    value as f32
}

/// Brightness, and the mean colour of each block of 2 × 2 pixels (Cb, Cr); limited range.
fn nv12(image: &RgbImage) -> (Vec<u8>, Vec<u8>) {
    const RED: f64 = 0.2126;
    const BLUE: f64 = 0.0722;
    let byte = |value: f64| (value + 0.5).clamp(0.0, 255.0) as u8;
    let light_of = |[r, g, b]: [f64; 3]| RED * r + (1.0 - RED - BLUE) * g + BLUE * b;
    let light = image.pixels().map(|pixel| byte(16.0 + 219.0 / 255.0 * light_of(pixel.0.map(f64::from))));
    let (width, height) = image.dimensions();
    let mut colour = Vec::new();
    for top in (0..height).step_by(2) {
        for left in (0..width).step_by(2) {
            let (mut sum, mut count) = ([0.0; 3], 0.0);
            for y in top..(top + 2).min(height) {
                for x in left..(left + 2).min(width) {
                    sum.iter_mut().zip(image.get_pixel(x, y).0).for_each(|(sum, value)| *sum += f64::from(value));
                    count += 1.0;
                }
            }
            let mean = sum.map(|sum| sum / count);
            let part = |value: f64, share: f64| {
                byte(128.0 + 224.0 / 255.0 * (value - light_of(mean)) / (2.0 * (1.0 - share)))
            };
            colour.extend([part(mean[2], BLUE), part(mean[0], RED)]);
        }
    }
    (light.collect(), colour)
}

fn values(outputs: &Outputs<'_>, name: &str) -> Result<Values, Box<dyn Error>> {
    let output = outputs.get(name).ok_or_else(|| format!("the model has no output {name}"))?;
    let data: Vec<f32> = if let Ok((_, data)) = output.try_extract_tensor::<f32>() {
        data.to_vec()
    } else if let Ok((_, data)) = output.try_extract_tensor::<i64>() {
        data.iter().map(|value| *value as f32).collect()
    } else {
        output.try_extract_tensor::<i32>()?.1.iter().map(|value| *value as f32).collect()
    };
    let shape = output.shape().iter().skip(1).map(|side| *side as usize).collect();
    Ok(Values { data, shape })
}

/// Detections above the threshold, best first.
fn detections(outputs: &Outputs<'_>, place: &Place) -> Result<Vec<Detection>, Box<dyn Error>> {
    let mut found = decode(outputs)?;
    for detection in &mut found {
        detection.bbox = to_original(detection.bbox, place);
    }
    found.retain(|one| one.score > THRESHOLD && one.bbox.iter().all(|value| value.is_finite()));
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found.truncate(MOST);
    Ok(found)
}

fn to_original([a, b, c, d]: [f32; 4], _: &Place) -> [f32; 4] {
    let corners = [a, b, c, d];
    let [x1, y1, x2, y2] = corners.map(f64::from);
    [x1, y1, x2, y2].map(|value| value as f32)
}

/// The rows of the model, boxes as it gives them. Padding has score 0 or a negative class.
fn decode(outputs: &Outputs<'_>) -> Result<Vec<Detection>, Box<dyn Error>> {
    let (boxes, classes) = (values(outputs, "boxes")?, values(outputs, "labels")?);
    let columns = boxes.shape[1];
    let scores: Vec<f32> = values(outputs, "scores")?.data;
    let used = values(outputs, "num")?.data.first().map_or(0, |count| *count as usize);
    let mut found = Vec::new();
    for ((bbox, class), score) in boxes.data.chunks_exact(columns).zip(classes.data).zip(scores).take(used) {
        if score > 0.0 && class >= -0.5 {
            found.push(Detection { label: class.round() as u32, score, bbox: std::array::from_fn(|at| bbox[at]) });
        }
    }
    Ok(found)
}

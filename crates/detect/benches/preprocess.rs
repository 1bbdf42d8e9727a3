//! Milliseconds per image of everything around the network: decode, resize and normalise, decode of outputs.
//!
//! `benches/preprocess.sh` runs this and the Python tools on the same picture, one after the other.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::hint::black_box;
use std::time::Instant;

use detect::{
    Activation, BoxFormat, ChannelOrder, DenseLayout, Detector, ElementType, Filter, Geometry, Head, Image,
    ImageInput, Labels, Resize, Selection, Thresholds, encode_jpeg, preprocess,
};
use graph::Tensor;

/// A noisy picture of 960 × 540.
const FILE: &[u8] = include_bytes!("../tests/fixtures/preprocess/000085.jpg");
const LETTERBOX: Resize = Resize::Letterbox { fill: 114, centred: true, upscale: true };

/// Prints the median and the fastest of `count` runs after three to warm up.
fn measure<T>(name: &str, per_run: usize, count: usize, mut run: impl FnMut() -> T) {
    (0..3).for_each(|_| drop(black_box(run())));
    let mut times: Vec<f64> = (0..count)
        .map(|_| {
            let start = Instant::now();
            drop(black_box(run()));
            start.elapsed().as_secs_f64() * 1e3 / per_run as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{name:<52} median {:7.3} ms  min {:7.3} ms  n {count}", times[count / 2], times[0]);
}

fn input(resize: Resize, antialias: bool) -> ImageInput {
    ImageInput {
        tensor: "images".into(),
        width: 640,
        height: 640,
        channels: ChannelOrder::Rgb,
        resize,
        filter: Filter::Bilinear,
        antialias,
        scale: 1.0 / 255.0,
        mean: [0.0; 3],
        std: [1.0; 3],
        dtype: ElementType::F32,
        mask: None,
        image_size: None,
        frames: None,
    }
}

fn detector(resize: Resize, head: Head) -> Detector {
    let labels = Labels::new((0..80).map(|id| (id, format!("class {id}")))).expect("80 labels");
    Detector::new("bench", labels, input(resize, true), head)
}

/// Repeatable numbers of 0–1.
fn noise(count: usize) -> impl Iterator<Item = f32> {
    let mut state = 0x2545_f491_u32;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32
    })
    .take(count)
}

fn pixels() {
    let image = Image::decode(FILE).expect("the fixture is a JPEG");
    measure("JPEG 960x540 decode", 1, 60, || Image::decode(FILE));
    let (stretch, letterbox) = (input(Resize::Stretch, true), input(LETTERBOX, false));
    measure("stretch 640 (antialias) + normalise", 1, 60, || preprocess(&stretch, &[&image]));
    measure("letterbox 640 + normalise", 1, 60, || preprocess(&letterbox, &[&image]));
    measure("JPEG to tensor, stretch 640", 1, 60, || {
        Image::decode(FILE).map(|image| preprocess(&stretch, &[image]))
    });
    let batch = vec![&image; 16];
    measure("stretch 640 + normalise, batch of 16, all cores", 16, 20, || preprocess(&stretch, &batch));
    measure("JPEG encode 960x540, quality 90", 1, 20, || encode_jpeg(&image, 90));
}

fn outputs() {
    let queries =
        detector(Resize::Stretch, Head::queries(Activation::Sigmoid, Selection::TopK { count: 300 }));
    let dense = detector(
        LETTERBOX,
        Head::Dense {
            output: "rows".into(),
            layout: DenseLayout::ChannelsFirst,
            objectness: false,
            format: BoxFormat::CxcywhPixels,
            activation: Activation::None,
            iou: Some(0.7),
            confidence: 0.25,
        },
    );
    let logits: Vec<f32> = noise(300 * 80).map(|value| value * 10.0 - 9.0).collect();
    let mut rows: Vec<f32> = noise(4 * 8400).map(|value| value * 640.0).collect();
    // About 50 rows above 0.25 and 250 above 0.001, as in a picture with some objects.
    rows.extend(noise(80 * 8400).map(|value| value.powi(18_600)));
    let tensor = |shape: &[usize], values| Tensor::from_f32(shape, values).expect("the shape fits");
    let found = [
        ("logits".to_owned(), tensor(&[1, 300, 80], logits)),
        ("boxes".to_owned(), tensor(&[1, 300, 4], noise(1200).collect())),
        ("rows".to_owned(), tensor(&[1, 84, 8400], rows)),
    ];
    for (name, detector) in [("300 queries x 80 classes", queries), ("8400 rows x 80 classes, NMS", dense)] {
        let geometry = [Geometry::new(&detector.input, (960, 540))];
        for (kind, thresholds) in [
            ("", Thresholds::for_head(&detector.head)),
            (" at 0.001", Thresholds::for_evaluation(&detector.head)),
        ] {
            measure(&format!("decode {name}{kind}"), 1, 60, || {
                detector.decode(&found, &geometry, &thresholds)
            });
        }
    }
}

fn main() {
    println!("detect (threads: {})", std::thread::available_parallelism().map_or(1, usize::from));
    pixels();
    outputs();
}

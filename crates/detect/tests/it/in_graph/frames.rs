//! Frames through a graph that only shows what it sees.

use std::collections::HashMap;

use detect::in_graph::preprocess_in_graph;
use detect::{
    Activation, BoxFormat, ChannelOrder, DenseLayout, Detector, ElementType, Error, Filter, Frames, Geometry,
    Head, Image, ImageInput, Labels, Matrix, PixelMask, Resize, Selection, Thresholds, preprocess,
};
use graph::{Builder, DataType, Dim, Model, Tensor};
use runtime::OnnxSource;
use runtime::backends::embedded::record_shapes;

use super::{noise, run};

pub(super) const CENTRED: Resize = Resize::Letterbox { fill: 114, centred: true, upscale: true };

pub(super) fn detector(width: u32, height: u32, resize: Resize, filter: Filter, antialias: bool) -> Detector {
    let input = ImageInput {
        tensor: "pixel_values".into(),
        width,
        height,
        channels: ChannelOrder::Rgb,
        resize,
        filter,
        antialias,
        scale: 1.0,
        mean: [0.0; 3],
        std: [1.0; 3],
        dtype: ElementType::F32,
        mask: None,
        image_size: None,
        frames: None,
    };
    let labels = Labels::from_lines("a\nb\n").unwrap();
    Detector::new("test", labels, input, Head::queries(Activation::None, Selection::PerQuery))
}

/// Shows its inputs as `seen…`; finds the same boxes in every image: the whole input, and a part of it.
pub(super) fn network(detector: &Detector, opset: i64) -> Model {
    let mut b = Builder::new("network", opset);
    let input = &detector.input;
    let shape = vec![Dim::batch(), 3.into(), (input.height as usize).into(), (input.width as usize).into()];
    let dtype = match input.dtype {
        ElementType::F32 => DataType::F32,
        ElementType::F16 => DataType::F16,
        ElementType::U8 => DataType::U8,
    };
    let pixels = b.input(&input.tensor, dtype, shape);
    let mut seen = vec![("seen", pixels.clone())];
    if let Some(mask) = &input.mask {
        let shape = vec![Dim::batch(), (mask.height as usize).into(), (mask.width as usize).into()];
        seen.push(("seen_mask", b.input(&mask.tensor, DataType::I64, shape)));
    }
    if let Some(name) = &input.image_size {
        seen.push(("seen_size", b.input(name, DataType::I64, vec![Dim::batch(), 2.into()])));
    }
    let (w, h) = (input.width as f32, input.height as f32);
    let boxes = match detector.head.format() {
        BoxFormat::CxcywhNormalized => [[0.5, 0.5, 1.0, 1.0], [0.3, 0.6, 0.2, 0.1]],
        BoxFormat::XyxyNormalized => [[0.0, 0.0, 1.0, 1.0], [0.2, 0.3, 0.4, 0.9]],
        BoxFormat::CxcywhPixels => [[w / 2.0, h / 2.0, w, h], [w * 0.3, h * 0.6, 7.0, 11.0]],
        BoxFormat::XyxyPixels => [[0.0, 0.0, w, h], [3.0, 5.0, w * 0.7, h * 0.4]],
        BoxFormat::XyxyOriginal => [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]],
    };
    let mut rows = |columns: &[f32], turned: bool| {
        let both = boxes.map(|row| [&row[..], columns].concat());
        let width = 4 + columns.len();
        let value = b.floats(&[1, 2, width], both.concat());
        let value = if turned { b.transpose(&value, &[0, 2, 1]) } else { value };
        b.expand_batch(&value, &pixels)
    };
    match &detector.head {
        Head::Queries { logits, boxes, .. } => {
            let all = rows(&[], false);
            let scores = b.floats(&[1, 2, 2], vec![0.9, 0.1, 0.2, 0.8]);
            let scores = b.expand_batch(&scores, &pixels);
            b.output(logits, &scores);
            b.output(boxes, &all);
        }
        Head::Dense { output, layout, .. } => {
            let all = rows(&[0.9, 0.6], *layout == DenseLayout::ChannelsFirst);
            b.output(output, &all);
        }
        Head::EndToEnd { output, .. } => {
            let all = rows(&[0.9, 1.0], false);
            b.output(output, &all);
        }
        Head::EndToEndParts { boxes, classes, .. } => {
            let all = rows(&[0.9], false);
            let ids = b.floats(&[1, 2], vec![0.0, 1.0]);
            let ids = b.expand_batch(&ids, &pixels);
            b.output(boxes, &all);
            b.output(classes, &ids);
        }
    }
    for (name, value) in seen {
        b.output(name, &value);
    }
    b.finish("test", "1").unwrap()
}

pub(super) fn picture(width: u32, height: u32) -> Image {
    let waves = |x: u32, y: u32, c: u32| {
        let (x, y) = (x as f32, y as f32);
        128.0 + 60.0 * (x * 0.05 * (c + 1) as f32).sin() + 50.0 * (y * 0.07).cos()
    };
    let mut random = noise(width * 31 + height);
    let mut pixels = Vec::new();
    for y in 0..height {
        for x in 0..width {
            for c in 0..3 {
                // Waves with noise and hard edges, some of them saturated.
                let edge = if (x / 9 + y / 7) % 5 == 0 { 90.0 } else { 0.0 };
                let value = waves(x, y, c) + edge + 60.0 * (random.next().unwrap() - 0.5);
                pixels.push(value.clamp(0.0, 255.0) as u8);
            }
        }
    }
    Image::new(width, height, pixels).unwrap()
}

pub(super) fn named<'a>(outputs: &'a [(String, Tensor)], name: &str) -> &'a Tensor {
    &outputs.iter().find(|(own, _)| own == name).unwrap().1
}

/// How many values differ, and by how much at most.
pub(super) fn difference(found: &Tensor, expected: &Tensor) -> (usize, f32) {
    assert_eq!(found.shape(), expected.shape());
    let (found, expected) = (found.to_f32().unwrap(), expected.to_f32().unwrap());
    let apart = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
    (apart.clone().filter(|apart| *apart > 0.0).count(), apart.fold(0.0, f32::max))
}

/// What the graph sees of a picture against what the code around it makes.
fn compare(detector: &Detector, frames: &Frames, images: &[Image]) -> (usize, f32) {
    let (model, described) = preprocess_in_graph(network(detector, 17), detector, frames.clone()).unwrap();
    let inputs = preprocess(&described.input, images).unwrap().inputs;
    let expected = preprocess(&detector.input, images).unwrap().inputs;
    difference(named(&run(&model, &inputs), "seen"), &expected[0].1)
}

/// One pixel, slivers, portrait, landscape, reductions and enlargements, and the target itself.
const SIZES: [(u32, u32); 12] = [
    (1, 1),
    (3, 5000),
    (5000, 3),
    (2, 1),
    (96, 64),
    (97, 63),
    (320, 240),
    (427, 640),
    (33, 47),
    (1280, 720),
    (96, 500),
    (61, 64),
];

#[test]
fn pictures_are_the_bytes_of_the_code_around_the_graph() {
    let exact = [(Filter::Bilinear, true), (Filter::Bilinear, false)];
    for (filter, antialias) in exact {
        for resize in [Resize::Stretch, CENTRED] {
            for (width, height) in SIZES {
                let detector = detector(96, 64, resize, filter, antialias);
                let found = compare(&detector, &Frames::Rgb, &[picture(width, height)]);
                assert_eq!(found, (0, 0.0), "{filter:?} {antialias} {resize:?} {width} × {height}");
            }
        }
    }
}

#[test]
fn kernels_in_single_precision_are_a_level_off_in_a_pixel_of_a_thousand() {
    let near = [
        (Filter::Bicubic, true),
        (Filter::Bicubic, false),
        (Filter::Lanczos, true),
        (Filter::Lanczos, false),
        (Filter::Hamming, true),
        (Filter::Hamming, false),
    ];
    for (filter, antialias) in near {
        let (mut count, mut most) = (0, 0.0_f32);
        for resize in [Resize::Stretch, CENTRED] {
            for (width, height) in SIZES {
                let detector = detector(96, 64, resize, filter, antialias);
                let found = compare(&detector, &Frames::Rgb, &[picture(width, height)]);
                (count, most) = (count + found.0, most.max(found.1));
            }
        }
        let all = 2 * SIZES.len() * 3 * 96 * 64;
        println!("{filter:?} antialias {antialias}: {count} of {all} differ, by at most {most}");
        assert!(most <= 1.0 && count * 1000 <= all, "{filter:?} {antialias}: {count} of {all}, {most}");
    }
}

#[test]
fn hard_edges_differ_only_where_a_position_falls_on_one() {
    for (filter, antialias) in [(Filter::Nearest, false), (Filter::Box, true), (Filter::Box, false)] {
        let (mut count, mut all) = (0, 0);
        for resize in [Resize::Stretch, CENTRED] {
            for (width, height) in SIZES {
                let detector = detector(96, 64, resize, filter, antialias);
                count += compare(&detector, &Frames::Rgb, &[picture(width, height)]).0;
                all += 3 * 96 * 64;
            }
        }
        println!("{filter:?} {antialias}: {count} of {all} differ");
        assert!(count * 100 <= all, "{filter:?} {antialias}: {count} of {all}");
    }
}

#[test]
fn letterbox_goes_where_the_code_puts_it() {
    let policies = [
        CENTRED,
        Resize::Letterbox { fill: 0, centred: false, upscale: true },
        Resize::Letterbox { fill: 7, centred: true, upscale: false },
    ];
    for resize in policies {
        for (width, height) in SIZES {
            let detector = detector(96, 65, resize, Filter::Bilinear, true);
            let found = compare(&detector, &Frames::Rgb, &[picture(width, height)]);
            assert_eq!(found, (0, 0.0), "{resize:?} {width} × {height}");
        }
    }
}

#[test]
fn colours_and_numbers_follow_the_description() {
    let images = [picture(130, 71)];
    for channels in [ChannelOrder::Rgb, ChannelOrder::Bgr] {
        for frames in [Frames::Rgb, Frames::Bgr] {
            let mut detector = detector(96, 64, CENTRED, Filter::Bilinear, true);
            detector.input.channels = channels;
            detector.input.scale = 1.0 / 255.0;
            assert_eq!(compare(&detector, &frames, &images), (0, 0.0), "{channels:?} {frames:?}");
            detector.input.mean = [0.485, 0.456, 0.406];
            detector.input.std = [0.229, 0.224, 0.225];
            // Rounded three times instead of once.
            let (_, most) = compare(&detector, &frames, &images);
            assert!(most <= 5e-7, "{channels:?} {frames:?}: {most}");
        }
    }
}

#[test]
fn bytes_go_into_networks_of_bytes() {
    let mut detector = detector(40, 30, Resize::Stretch, Filter::Bilinear, true);
    detector.input.dtype = ElementType::U8;
    assert_eq!(compare(&detector, &Frames::Rgb, &[picture(130, 71)]), (0, 0.0));
}

#[test]
fn nv12_is_converted_and_resized_as_by_the_code() {
    for matrix in [Matrix::Bt601, Matrix::Bt709] {
        for (width, height) in [(64, 48), (131, 77), (1, 1), (200, 301)] {
            let image = picture(width, height);
            let detector = detector(96, 64, CENTRED, Filter::Bilinear, true);
            let frames = Frames::nv12(matrix);
            let (model, described) = preprocess_in_graph(network(&detector, 17), &detector, frames).unwrap();
            let inputs = preprocess(&described.input, &[&image]).unwrap().inputs;
            let (light, colour) = image.to_nv12(matrix);
            let seen = Image::from_nv12((width, height), &light, &colour, matrix).unwrap();
            let expected = preprocess(&detector.input, &[&seen]).unwrap().inputs;
            let found = difference(named(&run(&model, &inputs), "seen"), &expected[0].1);
            assert_eq!(found, (0, 0.0), "{matrix:?} {width} × {height}");
        }
    }
}

#[test]
fn images_of_a_batch_do_not_mix() {
    let detector = detector(96, 64, CENTRED, Filter::Bilinear, true);
    let first = picture(131, 77);
    let second = Image::new(131, 77, first.pixels().iter().rev().copied().collect()).unwrap();
    let third = Image::filled(131, 77, [1, 2, 3]).unwrap();
    for frames in [Frames::Rgb, Frames::nv12(Matrix::Bt601)] {
        let (model, described) =
            preprocess_in_graph(network(&detector, 17), &detector, frames.clone()).unwrap();
        let seen = |images: &[&Image]| {
            let inputs = preprocess(&described.input, images).unwrap().inputs;
            named(&run(&model, &inputs), "seen").to_f32().unwrap()
        };
        let all = seen(&[&first, &second, &third]);
        assert_eq!(all, [seen(&[&first]), seen(&[&second]), seen(&[&third])].concat(), "{frames:?}");
    }
}

#[test]
fn masks_and_sizes_are_computed() {
    for resize in [Resize::Stretch, CENTRED] {
        for side in [64, 16] {
            let mut detector = detector(96, 64, resize, Filter::Bilinear, true);
            detector.input.mask = Some(PixelMask { tensor: "mask".into(), width: side, height: side });
            detector.input.image_size = Some("sizes".into());
            let images = [picture(50, 90), picture(50, 90)];
            let (model, described) =
                preprocess_in_graph(network(&detector, 17), &detector, Frames::Rgb).unwrap();
            let found = run(&model, &preprocess(&described.input, &images).unwrap().inputs);
            let expected = preprocess(&detector.input, &images).unwrap().inputs;
            for (name, at) in [("seen_mask", 1), ("seen_size", 2)] {
                let (found, expected) = (named(&found, name), &expected[at].1);
                assert_eq!(found.to_i64().unwrap(), expected.to_i64().unwrap(), "{resize:?} {name} {side}");
            }
        }
    }
}

fn heads() -> Vec<Head> {
    let mut all = Vec::new();
    let formats = [
        BoxFormat::CxcywhNormalized,
        BoxFormat::XyxyNormalized,
        BoxFormat::CxcywhPixels,
        BoxFormat::XyxyPixels,
        BoxFormat::XyxyOriginal,
    ];
    for format in formats {
        let mut queries = Head::queries(Activation::None, Selection::PerQuery);
        if let Head::Queries { format: own, .. } = &mut queries {
            *own = format;
        }
        all.push(queries);
        for layout in [DenseLayout::ChannelsFirst, DenseLayout::RowsFirst] {
            all.push(Head::Dense {
                output: "rows".into(),
                layout,
                objectness: false,
                format,
                activation: Activation::None,
                iou: None,
                confidence: 0.25,
            });
        }
        all.push(Head::EndToEnd { output: "rows".into(), format });
        all.push(Head::EndToEndParts {
            count: None,
            boxes: "boxes".into(),
            scores: None,
            classes: "classes".into(),
            format,
            confidence: 0.5,
            clip: false,
        });
    }
    all
}

#[test]
fn boxes_of_every_head_come_out_in_pixels_of_the_frame() {
    let policies = [Resize::Stretch, CENTRED, Resize::Letterbox { fill: 0, centred: false, upscale: false }];
    for head in heads() {
        for resize in policies {
            for (width, height) in [(131, 77), (50, 1000), (7, 5)] {
                let mut detector = detector(96, 64, resize, Filter::Bilinear, true);
                detector.head = head.clone();
                if head.format() == BoxFormat::XyxyOriginal {
                    detector.input.image_size = Some("sizes".into());
                }
                let image = [picture(width, height)];
                let before = preprocess(&detector.input, &image).unwrap();
                let raw = run(&network(&detector, 17), &before.inputs);
                let thresholds = Thresholds { clip: false, ..Thresholds::for_head(&detector.head) };
                let expected = detector.decode(&raw, &before.geometries, &thresholds).unwrap();

                let (model, described) =
                    preprocess_in_graph(network(&detector, 17), &detector, Frames::Rgb).unwrap();
                let fed = preprocess(&described.input, &image).unwrap();
                let outputs = run(&model, &fed.inputs);
                let found = described.decode(&outputs, &fed.geometries, &thresholds).unwrap();
                assert_eq!(found[0].len(), 2);
                assert_eq!(found, expected, "{head:?} {resize:?} {width} × {height}");
            }
        }
    }
}

#[test]
fn every_operator_set_is_written() {
    let detector = detector(40, 30, CENTRED, Filter::Bilinear, true);
    let image = [picture(50, 41)];
    for opset in Builder::OPSETS {
        let (model, described) =
            preprocess_in_graph(network(&detector, opset), &detector, Frames::Rgb).unwrap();
        let found = run(&model, &preprocess(&described.input, &image).unwrap().inputs);
        let expected = preprocess(&detector.input, &image).unwrap().inputs;
        assert_eq!(difference(named(&found, "seen"), &expected[0].1), (0, 0.0), "{opset}");
        assert_eq!(Detector::from_json(&model.metadata[Detector::METADATA_KEY]).unwrap(), described);
    }
}

/// ONNX Runtime re-uses memory by the symbols of shapes: a symbol with two sizes breaks a run there.
#[test]
fn a_symbol_names_one_size() {
    let image = [picture(427, 140)];
    for (filter, antialias) in [(Filter::Bilinear, true), (Filter::Bilinear, false), (Filter::Lanczos, true)]
    {
        for frames in [Frames::Rgb, Frames::nv12(Matrix::Bt709)] {
            for resize in [Resize::Stretch, CENTRED] {
                let detector = detector(96, 64, resize, filter, antialias);
                let (model, described) =
                    preprocess_in_graph(network(&detector, 17), &detector, frames.clone()).unwrap();
                let fed = preprocess(&described.input, &image).unwrap().inputs;
                let fed: Vec<(&str, &Tensor)> =
                    fed.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
                let mut bytes = Vec::new();
                graph::onnx::write(&model, &mut bytes).unwrap();
                let made = record_shapes(OnnxSource::Bytes(bytes), &fed).unwrap();
                let mut sizes: HashMap<&str, usize> = HashMap::new();
                let mut stated = 0;
                for info in model.graph.values.values() {
                    let (Some(dims), Some((_, shape))) = (&info.shape, made.get(&info.name)) else {
                        continue;
                    };
                    assert_eq!(dims.len(), shape.len(), "{info}");
                    for (dim, size) in dims.iter().zip(shape) {
                        match dim {
                            Dim::Fixed(fixed) => assert_eq!(fixed, size, "{info}"),
                            Dim::Symbol(name) => {
                                assert_eq!(sizes.entry(name).or_insert(*size), size, "{info} {filter:?}");
                            }
                            Dim::Unknown => {}
                        }
                        stated += 1;
                    }
                }
                assert!(stated > 50 && sizes.len() > 2, "{stated} {sizes:?}");
            }
        }
    }
}

#[test]
fn what_cannot_be_said_in_a_graph_is_refused() {
    let plain = detector(96, 64, CENTRED, Filter::Bilinear, true);
    let told = |model: Model, detector: &Detector| match preprocess_in_graph(model, detector, Frames::Rgb) {
        Err(error @ Error::InGraph { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let mut edge = plain.clone();
    edge.input.resize = Resize::ShortestEdge { shortest: 64, longest: 96, multiple_of: None };
    assert!(told(network(&edge, 17), &edge).contains("shortest_edge"));
    let mut old = network(&plain, 17);
    old.opsets.insert(String::new(), 13);
    assert!(told(old, &plain).contains("operator set 13"));
    let mut other = plain.clone();
    other.input.height = 65;
    assert!(told(network(&plain, 17), &other).contains("65"));
    other.input.tensor = "nothing".into();
    assert!(told(network(&plain, 17), &other).contains("`nothing`"));
    let (model, described) = preprocess_in_graph(network(&plain, 17), &plain, Frames::Rgb).unwrap();
    assert!(told(model, &described).contains("already"));
    assert_eq!(Geometry::new(&described.input, (7, 9)).resized, (7, 9));
}

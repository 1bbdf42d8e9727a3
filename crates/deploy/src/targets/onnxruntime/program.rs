//! The Rust program, put together for one detector.
//!
//! Every piece is a text beside this file; a detector's resize policy, head and activation choose which ones are used.

use std::fmt::Write;

use detect::{
    Activation, Background, BoxFormat, ChannelOrder, DenseLayout, Detector, ElementType, Filter, Frames,
    Head, ImageInput, Matrix, PixelMask, Resize, Selection,
};

use super::filled;
use crate::PackageName;

/// The score that a detection has to exceed when the user names none.
pub(super) fn threshold(head: &Head) -> f32 {
    detect::Thresholds::for_head(head).confidence
}

/// The text of `rust/Cargo.toml`.
pub(super) fn cargo_toml(detector: &Detector) -> String {
    let half = detector.input.dtype == ElementType::F16;
    filled(
        include_str!("rust/Cargo.toml.in"),
        &[
            ("HALF", if half { "half = \"2\"\n" } else { "" }),
            ("ORT_HALF", if half { ", \"half\"" } else { "" }),
        ],
    )
}

/// The text of `rust/src/main.rs`.
pub(super) fn main(name: &PackageName, model: &str, detector: &Detector) -> String {
    assembled(include_str!("rust/main.rs.in"), name, model, detector)
}

/// A program of these pieces around a template's own way to run the network: it defines `Outputs`, `main` and `values`.
pub(in super::super) fn assembled(
    template: &str,
    name: &PackageName,
    model: &str,
    detector: &Detector,
) -> String {
    let template = filled(
        template,
        &[
            ("SETTINGS", include_str!("rust/settings.rs.in")),
            ("TENSOR", include_str!("rust/tensor.rs.in")),
            ("DETECTIONS", include_str!("rust/detections.rs.in")),
        ],
    );
    let input = &detector.input;
    let (element, to_element) = element(input.dtype);
    let (resize_use, algorithm) = algorithm(input.filter, input.antialias);
    let (suppress, overlap) = suppression(&detector.head);
    let (corners, frame) = to_original(detector.head.format());
    let half_values = match input.dtype {
        ElementType::F16 => {
            "    } else if let Ok((_, data)) = output.try_extract_tensor::<half::f16>() {\n        \
             data.iter().map(|value| value.to_f32()).collect()\n"
        }
        ElementType::F32 | ElementType::U8 => "",
    };
    let clip =
        if detect::Thresholds::for_head(&detector.head).clip { include_str!("rust/clip.rs.in") } else { "" };
    let decode = decode(&detector.head) + overlap;
    filled(
        &template,
        &[
            ("NAME", name.as_str()),
            ("MODEL", model),
            ("LABELS", &labels(detector)),
            ("WIDTH", &input.width.to_string()),
            ("HEIGHT", &input.height.to_string()),
            ("SCALE", &number(input.scale)),
            ("MEAN", &numbers(input.mean)),
            ("STD", &numbers(input.std)),
            ("PADDING", &padding(input)),
            ("PLANES", if input.channels == ChannelOrder::Rgb { "[0, 1, 2]" } else { "[2, 1, 0]" }),
            ("THRESHOLD", &number(threshold(&detector.head))),
            ("ELEMENT", element),
            ("TO_ELEMENT", to_element),
            ("RESIZE_USE", resize_use),
            ("ALGORITHM", &algorithm),
            ("PIXELS", pixels(input)),
            ("INPUTS", &inputs(input)),
            ("PLACE", &place(&input.resize)),
            ("MASK", &input.mask.as_ref().map_or_else(String::new, mask)),
            ("NV12", &input.frames.as_ref().map_or_else(String::new, nv12)),
            ("HALF_VALUES", half_values),
            ("SUPPRESS", &suppress),
            ("CLIP", clip),
            ("CORNERS", corners),
            ("FRAME_OF", if frame.contains("place.") { "place" } else { "_" }),
            ("FRAME", frame),
            ("DECODE", decode.trim_end()),
        ],
    )
}

/// A Rust literal of a string: names of tensors and classes are anything.
fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// A Rust literal of a number, which always has a point or an exponent.
fn number(value: f32) -> String {
    format!("{value:?}")
}

fn numbers(values: [f32; 3]) -> String {
    format!("[{}]", values.map(number).join(", "))
}

fn labels(detector: &Detector) -> String {
    let mut lines = String::new();
    for (id, name) in detector.labels.iter() {
        let _ = writeln!(lines, "    ({id}, {}),", quoted(name));
    }
    lines
}

fn element(dtype: ElementType) -> (&'static str, &'static str) {
    match dtype {
        ElementType::F32 => ("f32", "value as f32"),
        ElementType::F16 => ("half::f16", "half::f16::from_f64(value)"),
        ElementType::U8 => ("u8", "value as u8"),
    }
}

fn algorithm(filter: Filter, antialias: bool) -> (&'static str, String) {
    let kernel = match filter {
        Filter::Nearest => return ("", "ResizeAlg::Nearest".to_owned()),
        Filter::Box => "Box",
        Filter::Bilinear => "Bilinear",
        Filter::Hamming => "Hamming",
        Filter::Bicubic => "CatmullRom",
        Filter::Lanczos => "Lanczos3",
    };
    let way = if antialias { "Convolution" } else { "Interpolation" };
    ("FilterType, ", format!("ResizeAlg::{way}(FilterType::{kernel})"))
}

/// Padding before normalisation is a colour, after it is 0.
fn padding(input: &ImageInput) -> String {
    let Resize::Letterbox { fill, .. } = input.resize else {
        return "[0.0; 3]".to_owned();
    };
    let plane = |at: usize| format!("({fill}.0 * SCALE - MEAN[{at}]) / STD[{at}]");
    format!("[{}]", [0, 1, 2].map(plane).join(", "))
}

/// What is made of an image before the graph runs.
fn pixels(input: &ImageInput) -> &'static str {
    match &input.frames {
        None => "        let pixels = tensor(&image, &place)?;\n",
        Some(Frames::Rgb) => "        let pixels = image.as_raw().clone();\n",
        Some(Frames::Bgr) => {
            "        let pixels: Vec<u8> = image.pixels().flat_map(|pixel| [pixel[2], pixel[1], pixel[0]]).collect();\n"
        }
        Some(Frames::Nv12 { .. }) => "        let (light, colour) = nv12(&image);\n",
    }
}

fn inputs(input: &ImageInput) -> String {
    let mut lines = String::new();
    let mut add = |name: &str, value: &str| {
        let _ = writeln!(lines, "            {} => Tensor::from_array({value})?,", quoted(name));
    };
    let (height, width) = ("image.height() as usize", "image.width() as usize");
    match &input.frames {
        None => add(&input.tensor, "([1, 3, HEIGHT, WIDTH], pixels)"),
        Some(Frames::Rgb | Frames::Bgr) => {
            add(&input.tensor, &format!("([1, {height}, {width}, 3], pixels)"));
        }
        Some(Frames::Nv12 { uv, .. }) => {
            add(&input.tensor, &format!("([1, {height}, {width}], light)"));
            let half = |side: &str| format!("({side}).div_ceil(2)");
            add(uv, &format!("([1, {}, {}, 2], colour)", half(height), half(width)));
        }
    }
    if let Some(PixelMask { tensor, width, height }) = &input.mask {
        add(tensor, &format!("([1, {height}, {width}], mask(&place))"));
    }
    if let Some(name) = &input.image_size {
        add(name, "([1, 2], vec![image.width() as i64, image.height() as i64])");
    }
    lines
}

fn nv12(frames: &Frames) -> String {
    let Frames::Nv12 { matrix, .. } = frames else { return String::new() };
    let (red, blue) = match matrix {
        Matrix::Bt601 => ("0.299", "0.114"),
        Matrix::Bt709 => ("0.2126", "0.0722"),
    };
    filled(include_str!("rust/nv12.rs.in"), &[("RED", red), ("BLUE", blue)])
}

fn mask(mask: &PixelMask) -> String {
    let (width, height) = (mask.width.to_string(), mask.height.to_string());
    filled(include_str!("rust/mask.rs.in"), &[("MASK_WIDTH", &width), ("MASK_HEIGHT", &height)])
}

fn place(resize: &Resize) -> String {
    match *resize {
        Resize::Stretch => include_str!("rust/place_stretch.rs.in").to_owned(),
        Resize::Letterbox { centred, upscale, .. } => {
            let border = "|free: usize| (free as f64 / 2.0 - 0.1).round_ties_even().max(0.0) as usize";
            let values = [
                ("GAIN", if upscale { "fit" } else { "fit.min(1.0)" }),
                ("BORDER", if centred { border } else { "|_: usize| 0" }),
            ];
            filled(include_str!("rust/place_letterbox.rs.in"), &values)
        }
        Resize::ShortestEdge { shortest, longest, multiple_of } => {
            let values = [
                ("SHORTEST", format!("{shortest}.0")),
                ("LONGEST", format!("{longest}.0")),
                ("STEP", multiple_of.unwrap_or(1).to_string()),
            ];
            let values: Vec<(&str, &str)> =
                values.iter().map(|(key, value)| (*key, value.as_str())).collect();
            filled(include_str!("rust/place_shortest_edge.rs.in"), &values)
        }
    }
}

fn suppression(head: &Head) -> (String, &'static str) {
    match head {
        Head::Dense { iou: Some(iou), .. } | Head::Queries { iou: Some(iou), .. } => {
            let lines = filled(include_str!("rust/suppress.rs.in"), &[("IOU", &number(*iou))]);
            (lines, include_str!("rust/overlap.rs.in"))
        }
        _ => (String::new(), ""),
    }
}

fn to_original(format: BoxFormat) -> (&'static str, &'static str) {
    let corners = match format {
        BoxFormat::CxcywhNormalized | BoxFormat::CxcywhPixels => {
            "[a - c / 2.0, b - d / 2.0, a + c / 2.0, b + d / 2.0]"
        }
        BoxFormat::XyxyNormalized | BoxFormat::XyxyPixels | BoxFormat::XyxyOriginal => "[a, b, c, d]",
    };
    let frame = match format {
        BoxFormat::CxcywhNormalized | BoxFormat::XyxyNormalized => {
            "let (dx, dy) = (\n        place.corner.0 as f64 * place.per_pixel.0,\n        place.corner.1 as f64 * place.per_pixel.1,\n    );\n    \
             let (sx, sy) = place.per_unit;\n    \
             [x1 * sx - dx, y1 * sy - dy, x2 * sx - dx, y2 * sy - dy].map(|value| value as f32)"
        }
        BoxFormat::CxcywhPixels | BoxFormat::XyxyPixels => {
            "let (left, top) = (place.corner.0 as f64, place.corner.1 as f64);\n    \
             let (sx, sy) = place.per_pixel;\n    \
             [(x1 - left) * sx, (y1 - top) * sy, (x2 - left) * sx, (y2 - top) * sy].map(|value| value as f32)"
        }
        BoxFormat::XyxyOriginal => "[x1, y1, x2, y2].map(|value| value as f32)",
    };
    (corners, frame)
}

fn decode(head: &Head) -> String {
    match head {
        Head::Queries { logits, boxes, activation, selection, .. } => {
            let (piece, count) = match selection {
                Selection::TopK { count } => (include_str!("rust/queries_top_k.rs.in"), *count),
                Selection::PerQuery => (include_str!("rust/queries_per_query.rs.in"), 0),
            };
            let values =
                [("LOGITS", &*quoted(logits)), ("BOXES", &quoted(boxes)), ("COUNT", &count.to_string())];
            filled(piece, &values) + &scores(*activation)
        }
        Head::Dense { output, layout, objectness, activation, .. } => {
            let (columns, rows, index) = match layout {
                DenseLayout::ChannelsFirst => ("0", "1", "column * count + row"),
                DenseLayout::RowsFirst => ("1", "0", "row * columns + column"),
            };
            let values = [
                ("OUTPUT", &*quoted(output)),
                ("COLUMNS_AXIS", columns),
                ("ROWS_AXIS", rows),
                ("INDEX", index),
                ("OBJECTNESS", if *objectness { include_str!("rust/objectness.rs.in") } else { "" }),
            ];
            filled(include_str!("rust/dense.rs.in"), &values) + &scores(*activation)
        }
        Head::EndToEnd { output, .. } => {
            filled(include_str!("rust/end_to_end.rs.in"), &[("OUTPUT", &quoted(output))])
        }
        Head::EndToEndParts { count, boxes, scores, classes, .. } => {
            let read = |name: &str| format!("values(outputs, {})?.data", quoted(name));
            let scores = scores.as_deref().map_or_else(
                || "boxes.data.chunks_exact(columns).map(|row| row[4]).collect()".to_owned(),
                read,
            );
            let used = count.as_deref().map_or_else(
                || "boxes.shape[0]".to_owned(),
                |count| format!("{}.first().map_or(0, |count| *count as usize)", read(count)),
            );
            let values = [
                ("BOXES", &*quoted(boxes)),
                ("CLASSES", &quoted(classes)),
                ("SCORES", &scores),
                ("USED", &used),
            ];
            filled(include_str!("rust/end_to_end_parts.rs.in"), &values)
        }
    }
}

fn scores(activation: Activation) -> String {
    match activation {
        Activation::None => include_str!("rust/scores_none.rs.in").to_owned(),
        Activation::Sigmoid => include_str!("rust/scores_sigmoid.rs.in").to_owned(),
        Activation::Softmax { background } => {
            let values = match background {
                Background::Last => [("WITHOUT", ", without the background"), ("CLASSES", "row.len() - 1")],
                Background::None => [("WITHOUT", ""), ("CLASSES", "row.len()")],
            };
            filled(include_str!("rust/scores_softmax.rs.in"), &values)
        }
    }
}

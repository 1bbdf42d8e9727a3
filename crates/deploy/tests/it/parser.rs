//! The bounding-box parser of every kind of head, compiled and called as nvinfer does: the boxes of our own decoder.

use deploy::Precision;
use deploy::targets::{Deployment, Graphs, target};
use detect::{
    Activation, Background, BoxFormat, ChannelOrder, DenseLayout, Detection, Detector, ElementType, Filter,
    Geometry, Head, ImageInput, Labels, Resize, Selection, Thresholds, Xyxy, suppress,
};
use graph::Tensor;

use crate::nvinfer::{Layer, Object, Parser, has_compiler};
use crate::variants;

/// The frame that boxes are compared in.
const FRAME: (u32, u32) = (1280, 720);

/// Rows of a tensor.
const ROWS: usize = 600;

/// A deployed detector: its parser, and the description of what nvinfer runs.
struct Deployed {
    parser: Parser,
    described: Detector,
}

impl Deployed {
    fn of(deployment: &Deployment<'_>) -> Self {
        let deepstream = target("deepstream").unwrap();
        let tree = deepstream.render(deployment).unwrap();
        let models = deepstream.models(deployment).unwrap();
        let described = models.first().map_or(deployment.detector, |model| model.scaled.described()).clone();
        let (path, source) = tree.iter().find(|(path, _)| path.contains(".cpp")).unwrap();
        assert!(path.starts_with("parser/nvdsinfer_custombboxparser_"));
        let deploy::Content::Bytes(source) = source else { panic!("{path}") };
        let source = std::str::from_utf8(source).unwrap();
        let symbol = source.split("extern \"C\" bool ").nth(1).unwrap().split('(').next().unwrap();
        Self { parser: Parser::compile(source, symbol, &[]), described }
    }

    fn of_head(head: Head) -> Self {
        let detector = detector(head);
        Self::of(&Deployment {
            name: &"a-head".parse().unwrap(),
            detector: &detector,
            model: "model/a-head.onnx",
            outputs: &[],
            precisions: &[Precision::Fp32],
            max_batch: 1,
            frame: FRAME,
            graphs: Graphs::NONE,
            engine: None,
        })
    }

    fn network(&self) -> (u32, u32) {
        (self.described.input.width, self.described.input.height)
    }

    /// Whether nvinfer suppresses.
    fn iou(&self) -> Option<f32> {
        match &self.described.head {
            Head::Dense { iou, .. } | Head::Queries { iou, .. } => *iou,
            _ => None,
        }
    }

    /// Compares what the parser finds with what the decoder finds; gives how many there were.
    fn compare(&self, outputs: &[(String, Tensor)], layers: &[Layer]) -> usize {
        let thresholds = Thresholds { clip: false, ..Thresholds::for_head(&self.described.head) };
        let classes = vec![thresholds.confidence; self.described.labels.len()];
        let answer = self.parser.parse(self.network(), &classes, layers);
        assert!(answer.accepted, "{}", answer.told);
        let geometry = Geometry::new(&self.described.input, FRAME);
        let mut expected = self.described.decode(outputs, &[geometry], &thresholds).unwrap().remove(0);
        let (width, height) = self.network();
        for detection in &mut expected {
            detection.bbox = geometry.to_input_pixels(detection.bbox).clipped(width, height);
        }
        expected.retain(|detection| detection.bbox.width() > 0.0 && detection.bbox.height() > 0.0);
        let mut found: Vec<Detection> = answer.objects.iter().map(detection).collect();
        if let Some(iou) = self.iou() {
            found = suppress(found, iou);
            // nvinfer's `topk` is each class's.
            found.truncate(thresholds.max_detections);
        }
        assert_eq!(found.len(), expected.len(), "{:?}", self.described.head);
        for (found, expected) in found.iter().zip(&expected) {
            same(found, expected);
        }
        found.len()
    }
}

fn detection(object: &Object) -> Detection {
    let [x1, y1, x2, y2] = object.corners;
    Detection { bbox: Xyxy::new(x1, y1, x2, y2), score: object.score, label: object.label }
}

fn same(found: &Detection, expected: &Detection) {
    assert_eq!(found.label, expected.label);
    assert!((found.score - expected.score).abs() < 1e-6, "{found:?} {expected:?}");
    let (a, b) = (found.bbox, expected.bbox);
    for (a, b) in [(a.x1, b.x1), (a.y1, b.y1), (a.x2, b.x2), (a.y2, b.y2)] {
        assert!((a - b).abs() < 1e-3, "{found:?} {expected:?}");
    }
}

fn detector(head: Head) -> Detector {
    let input = ImageInput {
        tensor: "pixels".into(),
        width: 160,
        height: 96,
        channels: ChannelOrder::Rgb,
        resize: Resize::Stretch,
        filter: Filter::Bilinear,
        antialias: false,
        scale: 1.0 / 255.0,
        mean: [0.0; 3],
        std: [1.0; 3],
        dtype: ElementType::F32,
        mask: None,
        image_size: None,
        frames: None,
    };
    Detector::new("test", Labels::from_lines("circle\nsquare\nstar\n").unwrap(), input, head)
}

/// Tensors as nvinfer hands them over: without the batch, in 32-bit floats.
fn layers(outputs: &[(String, Tensor)]) -> Vec<Layer> {
    let layer = |(name, tensor): &(String, Tensor)| {
        Layer::floats(name, &tensor.shape()[1..], &tensor.to_f32().unwrap())
    };
    outputs.iter().map(layer).collect()
}

/// Numbers of 0 to 1, no two alike.
fn noise(count: usize, seed: usize) -> Vec<f32> {
    let mut state = (seed as u32 + 1).wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32
    };
    (0..count).map(|_| next()).collect()
}

/// Boxes as centre and size or as corners, some over the border.
fn boxes(count: usize, format: BoxFormat, (width, height): (f32, f32)) -> Vec<[f32; 4]> {
    let numbers = noise(4 * count, 3);
    let (sx, sy) = match format {
        BoxFormat::CxcywhNormalized | BoxFormat::XyxyNormalized => (1.0, 1.0),
        _ => (width, height),
    };
    let is_centred = matches!(format, BoxFormat::CxcywhNormalized | BoxFormat::CxcywhPixels);
    let row = |row: &[f32; 4]| {
        let [cx, cy, w, h] =
            [row[0] * sx, row[1] * sy, (0.05 + 0.4 * row[2]) * sx, (0.05 + 0.4 * row[3]) * sy];
        if is_centred { [cx, cy, w, h] } else { [cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0] }
    };
    numbers.as_chunks::<4>().0.iter().map(row).collect()
}

/// A box over the border is cut before suppression by nvinfer and after it by the decoder: there are none here.
fn move_inside(row: &mut [f32], (width, height): (f32, f32)) {
    row[0] = row[0].clamp(row[2] / 2.0, width - row[2] / 2.0);
    row[1] = row[1].clamp(row[3] / 2.0, height - row[3] / 2.0);
}

fn tensor(name: &str, shape: &[usize], values: Vec<f32>) -> (String, Tensor) {
    (name.to_owned(), Tensor::from_f32(shape, values).unwrap())
}

fn queries(activation: Activation, selection: Selection, iou: Option<f32>) -> Head {
    Head::Queries {
        logits: "the logits".into(),
        boxes: "boxes:0".into(),
        format: BoxFormat::CxcywhNormalized,
        activation,
        selection,
        iou,
        confidence: 0.3,
    }
}

#[test]
fn the_models_of_every_head_give_the_decoders_boxes() {
    if !has_compiler() {
        println!("skipped: the_models_of_every_head_give_the_decoders_boxes: no `g++`");
        return;
    }
    for name in variants::NAMES {
        let deployed = variants::deployed(name, Deployed::of);
        let outputs = variants::outputs(name);
        let found = deployed.compare(&outputs, &layers(&outputs));
        assert!(found > 2, "{name} finds too little to compare: {found}");
    }
}

#[test]
fn every_form_of_queries_gives_the_decoders_boxes() {
    if !has_compiler() {
        println!("skipped: every_form_of_queries_gives_the_decoders_boxes: no `g++`");
        return;
    }
    let cases = [
        (queries(Activation::None, Selection::TopK { count: 500 }, None), 3),
        (queries(Activation::Sigmoid, Selection::TopK { count: 150 }, Some(0.5)), 3),
        (queries(Activation::Sigmoid, Selection::PerQuery, None), 5),
        (queries(Activation::Softmax { background: Background::None }, Selection::PerQuery, None), 3),
        (queries(Activation::Softmax { background: Background::Last }, Selection::PerQuery, None), 4),
    ];
    for (head, columns) in cases {
        let is_raw = !matches!(head, Head::Queries { activation: Activation::None, .. });
        let mut scores = noise(ROWS * columns, 7);
        if is_raw {
            for score in &mut scores {
                *score = 10.0 * *score - 6.0;
            }
        }
        // Undefined and endless numbers are left out by both.
        (scores[5], scores[17], scores[40]) = (f32::NAN, f32::NEG_INFINITY, f32::NAN);
        let mut rows = boxes(ROWS, BoxFormat::CxcywhNormalized, (160.0, 96.0));
        if matches!(head, Head::Queries { iou: Some(_), .. }) {
            for row in &mut rows {
                move_inside(row, (1.0, 1.0));
            }
        }
        (rows[3][0], rows[8][2]) = (f32::NAN, f32::INFINITY);
        // Classes beyond the labels are no classes for nvinfer.
        let classes = if columns == 5 { vec![f32::NEG_INFINITY; 2] } else { Vec::new() };
        for row in scores.chunks_exact_mut(columns).filter(|_| !classes.is_empty()) {
            row[3..].copy_from_slice(&classes);
        }
        let outputs = [
            tensor("the logits", &[1, ROWS, columns], scores),
            tensor("boxes:0", &[1, ROWS, 4], rows.concat()),
        ];
        let mut layers = layers(&outputs);
        // The order of layers is the engine's, and others may be among them.
        layers.reverse();
        layers.insert(0, Layer::floats("other", &[2, 3], &[0.0; 6]));
        let found = Deployed::of_head(head).compare(&outputs, &layers);
        assert!(found > 20, "{found}");
    }
}

#[test]
fn every_form_of_dense_rows_gives_the_decoders_boxes() {
    if !has_compiler() {
        println!("skipped: every_form_of_dense_rows_gives_the_decoders_boxes: no `g++`");
        return;
    }
    for (layout, format, activation, objectness, iou) in [
        (DenseLayout::RowsFirst, BoxFormat::XyxyNormalized, Activation::None, false, Some(0.6)),
        (DenseLayout::ChannelsFirst, BoxFormat::CxcywhPixels, Activation::Sigmoid, true, Some(0.45)),
        (DenseLayout::ChannelsFirst, BoxFormat::XyxyPixels, Activation::Sigmoid, false, None),
    ] {
        let head = Head::Dense {
            output: "out".into(),
            layout,
            objectness,
            format,
            activation,
            iou,
            confidence: 0.4,
        };
        let deployed = Deployed::of_head(head);
        let columns = 7 + usize::from(objectness);
        let scores = noise(ROWS * (columns - 4), 11);
        let (scale, shift) = if activation == Activation::Sigmoid { (8.0, 4.0) } else { (1.0, 0.0) };
        let mut rows: Vec<Vec<f32>> = boxes(ROWS, format, (160.0, 96.0))
            .iter()
            .zip(scores.chunks_exact(columns - 4))
            .map(|(b, scores)| b.iter().copied().chain(scores.iter().map(|s| s * scale - shift)).collect())
            .collect();
        for row in &mut rows {
            match format {
                BoxFormat::CxcywhPixels => move_inside(row, (160.0, 96.0)),
                BoxFormat::XyxyNormalized => {
                    row[..4].iter_mut().for_each(|corner| *corner = corner.clamp(0.0, 1.0));
                }
                _ => {}
            }
        }
        (rows[7][4], rows[9][1]) = (f32::NAN, f32::NAN);
        let (shape, values) = match layout {
            DenseLayout::RowsFirst => ([1, ROWS, columns], rows.concat()),
            DenseLayout::ChannelsFirst => {
                let turned = (0..columns).flat_map(|column| rows.iter().map(move |row| row[column]));
                ([1, columns, ROWS], turned.collect())
            }
        };
        let outputs = [tensor("out", &shape, values)];
        let found = deployed.compare(&outputs, &layers(&outputs));
        assert!(found > 20, "{found}");
    }
}

#[test]
fn rows_of_six_and_parts_give_the_decoders_boxes() {
    if !has_compiler() {
        println!("skipped: rows_of_six_and_parts_give_the_decoders_boxes: no `g++`");
        return;
    }
    let format = BoxFormat::XyxyNormalized;
    let rows = boxes(ROWS, format, (160.0, 96.0));
    let mut scores = noise(ROWS, 13);
    (scores[4], scores[6]) = (f32::NAN, 0.0);
    // Negative classes are padding, and 2.4 is class 2.
    let labels: Vec<f32> = (0..ROWS).map(|row| [0.0, 1.0, 2.4, -1.0][row % 4]).collect();
    let six: Vec<f32> =
        (0..ROWS).flat_map(|row| [&rows[row][..], &[scores[row], labels[row]]].concat()).collect();
    let outputs = [tensor("dets", &[1, ROWS, 6], six)];
    let end_to_end = Deployed::of_head(Head::EndToEnd { output: "dets".into(), format });
    assert!(end_to_end.compare(&outputs, &layers(&outputs)) > 100);

    // Scores as a fifth column, classes as bytes or int32, no count.
    let parts = |count: Option<&str>, scores: Option<&str>| Head::EndToEndParts {
        count: count.map(str::to_owned),
        boxes: "dets".into(),
        scores: scores.map(str::to_owned),
        classes: "labels".into(),
        format,
        confidence: 0.35,
        clip: false,
    };
    let ids: Vec<i32> = (0..ROWS).map(|row| [0, 1, 2, -1][row % 4]).collect();
    let five: Vec<f32> = (0..ROWS).flat_map(|row| [&rows[row][..], &[scores[row]]].concat()).collect();
    let ids_as_floats: Vec<f32> = ids.iter().map(|id| *id as f32).collect();
    let outputs =
        [tensor("dets", &[1, ROWS, 5], five.clone()), tensor("labels", &[1, ROWS], ids_as_floats.clone())];
    let int32 = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let layers = [Layer::floats("dets", &[ROWS, 5], &five), Layer::of("labels", 3, &[ROWS, 1], int32)];
    assert!(Deployed::of_head(parts(None, None)).compare(&outputs, &layers) > 100);

    // A count, and every output in another type: half, int64, int8.
    let whole: Vec<f32> = scores.iter().map(|score| half::f16::from_f32(*score).to_f32()).collect();
    let halves: Vec<f32> = rows.concat().iter().map(|corner| half::f16::from_f32(*corner).to_f32()).collect();
    let outputs = [
        tensor("dets", &[1, ROWS, 4], halves.clone()),
        tensor("scores", &[1, ROWS], whole.clone()),
        tensor("labels", &[1, ROWS], ids_as_floats),
        tensor("num", &[1, 1], vec![120.0]),
    ];
    let half_bytes = |values: &[f32]| {
        values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect::<Vec<u8>>()
    };
    let int64 = ids.iter().flat_map(|id| i64::from(*id).to_le_bytes()).collect();
    let layers = [
        Layer::of("num", 2, &[1], vec![120]),
        Layer::of("dets", 1, &[ROWS, 4], half_bytes(&halves)),
        Layer::of("scores", 1, &[ROWS], half_bytes(&whole)),
        Layer::of("labels", 4, &[ROWS], int64),
    ];
    assert!(Deployed::of_head(parts(Some("num"), Some("scores"))).compare(&outputs, &layers) > 30);
}

#[test]
fn each_class_has_its_own_threshold() {
    if !has_compiler() {
        println!("skipped: each_class_has_its_own_threshold: no `g++`");
        return;
    }
    let deployed = Deployed::of_head(queries(Activation::None, Selection::PerQuery, None));
    let scores = [0.5, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.5, 0.4, 0.6, 0.0];
    let layers = [
        Layer::floats("the logits", &[4, 3], &scores),
        Layer::floats("boxes:0", &[4, 4], &[[0.5, 0.5, 0.25, 0.25]; 4].concat()),
    ];
    let found = |thresholds: &[f32]| -> Vec<u32> {
        let answer = deployed.parser.parse((160, 96), thresholds, &layers);
        assert!(answer.accepted);
        answer.objects.iter().map(|object| object.label).collect()
    };
    assert_eq!(found(&[0.3, 0.3, 0.3]), [1, 0, 1, 2]);
    // The threshold itself does not pass.
    assert_eq!(found(&[0.3, 0.5, 0.3]), [1, 0, 2]);
    assert_eq!(found(&[0.3, 0.7, 0.3]), [0, 2, 0], "the best of what passes");
    assert!(found(&[0.9, 0.9, 0.9]).is_empty());
    // Only two classes are configured.
    assert_eq!(found(&[0.3, 0.3]), [1, 0, 1]);
    assert!(found(&[]).is_empty());
}

#[test]
fn hostile_tensors_are_refused() {
    if !has_compiler() {
        println!("skipped: hostile_tensors_are_refused: no `g++`");
        return;
    }
    let head = |name: &str| match name {
        "queries" => queries(Activation::Sigmoid, Selection::PerQuery, None),
        "dense" => Head::Dense {
            output: "the logits".into(),
            layout: DenseLayout::ChannelsFirst,
            objectness: false,
            format: BoxFormat::CxcywhPixels,
            activation: Activation::None,
            iou: Some(0.5),
            confidence: 0.3,
        },
        "rows" => Head::EndToEnd { output: "the logits".into(), format: BoxFormat::XyxyPixels },
        _ => Head::EndToEndParts {
            count: Some("boxes:0".into()),
            boxes: "the logits".into(),
            scores: None,
            classes: "classes".into(),
            format: BoxFormat::XyxyPixels,
            confidence: 0.3,
            clip: false,
        },
    };
    let wrong = |dims: &[u64], bytes: usize, dtype: u32| Layer {
        name: "the logits".into(),
        dtype,
        dims: dims.to_vec(),
        bytes: Some(vec![0x7f; bytes]),
        elements: None,
    };
    for name in ["queries", "dense", "rows", "parts"] {
        let parser = Deployed::of_head(head(name)).parser;
        let told = |layers: &[Layer]| {
            let answer = parser.parse((160, 96), &[0.3, 0.3, 0.3], layers);
            assert!(!answer.accepted && answer.objects.is_empty(), "{name}");
            assert!(answer.told.contains("NvDsInferParseCustomAHead: "), "{name}: {}", answer.told);
            answer.told
        };
        let rest =
            || [Layer::floats("boxes:0", &[2, 4], &[0.0; 8]), Layer::floats("classes", &[3], &[0.0; 3])];
        let with = |first: Layer| -> Vec<Layer> { std::iter::once(first).chain(rest()).collect() };
        assert!(told(&[]).contains("has no output `the logits`"));
        assert!(told(&rest()).contains("has no output `the logits`"));
        // Another rank, another width, no width, and more dimensions than the structure holds.
        for dims in [&[][..], &[3], &[2, 3, 4], &[2, 2], &[0, 4], &[1; 9]] {
            let bytes = dims.iter().product::<u64>() as usize * 4;
            told(&with(wrong(dims, bytes, 0)));
        }
        // Sizes whose product overflows, or is not what is stated.
        assert!(told(&with(wrong(&[1 << 16, 1 << 16], 0, 0))).contains("fixed shape"));
        assert!(told(&with(wrong(&[u64::from(u32::MAX), 4], 0, 0))).contains("fixed shape"));
        let mut stated = wrong(&[2, 6], 48, 0);
        stated.elements = Some(4);
        assert!(told(&with(stated)).contains("number of elements"));
        let mut empty = wrong(&[2, 6], 0, 0);
        empty.bytes = None;
        assert!(told(&with(empty)).contains("no buffer"));
        assert!(told(&with(wrong(&[2, 6], 12, 77))).contains("data type"));
    }
    // Undefined numbers everywhere are no objects, and no error.
    let parser = Deployed::of_head(head("queries")).parser;
    let nan = [
        Layer::floats("the logits", &[9, 3], &[f32::NAN; 27]),
        Layer::floats("boxes:0", &[9, 4], &[f32::NAN; 36]),
    ];
    let answer = parser.parse((160, 96), &[0.3, 0.3, 0.3], &nan);
    assert!(answer.accepted && answer.objects.is_empty());
    // A count that is none.
    let parser = Deployed::of_head(head("parts")).parser;
    for (count, found) in [(f32::NAN, 0), (-3.0, 0), (f32::INFINITY, 2), (1e30, 2), (1.0, 1)] {
        let layers = [
            Layer::floats("the logits", &[2, 5], &[1.0, 2.0, 30.0, 40.0, 0.9, 5.0, 6.0, 70.0, 80.0, 0.8]),
            Layer::floats("boxes:0", &[1], &[count]),
            Layer::floats("classes", &[2], &[0.0, 2.0]),
        ];
        let answer = parser.parse((160, 96), &[0.3, 0.3, 0.3], &layers);
        assert!(answer.accepted);
        assert_eq!(answer.objects.len(), found, "{count}");
    }
}

#[test]
fn the_makefile_builds_a_library_with_the_symbol() {
    use std::process::Command;
    if !has_compiler() {
        println!("skipped: the_makefile_builds_a_library_with_the_symbol: no `g++`");
        return;
    }
    let is_there =
        |tool: &str| Command::new(tool).arg("--version").output().is_ok_and(|out| out.status.success());
    if !(is_there("make") && is_there("nm")) {
        println!("skipped: the_makefile_builds_a_library_with_the_symbol: no `make` or no `nm`");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let deepstream = root.path().join("deepstream/sources");
    std::fs::create_dir_all(&deepstream).unwrap();
    std::os::unix::fs::symlink(crate::nvinfer::header_folder(), deepstream.join("includes")).unwrap();
    let tree =
        variants::deployed("queries", |deployment| target("deepstream").unwrap().render(deployment).unwrap());
    for (path, content) in tree {
        let deploy::Content::Bytes(bytes) = content else { continue };
        let place = root.path().join(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, bytes).unwrap();
    }
    let make = |more: &[&str]| {
        let home = format!("DEEPSTREAM={}", root.path().join("deepstream").display());
        Command::new("make").arg("-C").arg(root.path().join("parser")).arg(home).args(more).output().unwrap()
    };
    let output = make(&[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let library = root.path().join("parser/libnvdsinfer_queries_parser.so");
    let symbols = Command::new("nm").args(["-D", "--defined-only"]).arg(&library).output().unwrap();
    assert!(String::from_utf8_lossy(&symbols.stdout).contains(" T NvDsInferParseCustomQueries\n"));
    // A library without the symbol is an error and no library.
    let source = root.path().join("parser/nvdsinfer_custombboxparser_queries.cpp");
    let text = std::fs::read_to_string(&source).unwrap();
    std::fs::write(&source, text.replace("NvDsInferParseCustomQueries", "Another")).unwrap();
    let output = make(&["-B"]);
    assert!(!output.status.success() && !library.exists());
    assert!(String::from_utf8_lossy(&output.stderr).contains("lacks NvDsInferParseCustomQueries"));
    // The structures of DeepStream 6.
    std::fs::write(&source, text).unwrap();
    let output = make(&["-B", "CXX=g++ -DOLD_DEEPSTREAM -Werror"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

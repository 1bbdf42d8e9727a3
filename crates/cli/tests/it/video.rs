//! What an import leaves for DeepStream and Isaac ROS, end to end on the trained models: the graph that nvinfer would run,
//! the compiled parser, and the boxes that come out.

use std::fs;
use std::path::Path;

use pipeline::detect::{
    Detection, Detector, ElementType, Geometry, Head, Image, Thresholds, Xyxy, preprocess, suppress,
};
use pipeline::graph::{Builder, DataType, Dim, Tensor, onnx};
use pipeline::runtime::{LoadOptions, OnnxSource, backend};

use crate::nvinfer::{Layer, Parser, has_compiler};
use crate::program::{Ran, example, sightline};

/// Runs a graph on an image by the description that it carries.
fn run(onnx: &Path, image: &Image) -> (Detector, Vec<(String, Tensor)>, Geometry) {
    let structure = onnx::read_structure(fs::read(onnx).unwrap().into()).unwrap();
    let detector = Detector::from_json(&structure.metadata[Detector::METADATA_KEY]).unwrap();
    let made = preprocess(&detector.input, std::slice::from_ref(image)).unwrap();
    let options = LoadOptions { threads: None };
    let mut session = backend("embedded").unwrap().load(OnnxSource::File(onnx), &options).unwrap();
    let inputs: Vec<(&str, &Tensor)> =
        made.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let outputs = session.run(&inputs).unwrap();
    (detector, outputs, made.geometries[0])
}

/// The value of a key in the file that nvinfer reads.
fn key(package: &Path, name: &str, wanted: &str) -> String {
    let text = fs::read_to_string(package.join(format!("config/config_infer_primary_{name}.txt"))).unwrap();
    let found = text.lines().find_map(|line| line.strip_prefix(wanted)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no `{wanted}`")).to_owned()
}

/// Compares what the files for DeepStream find in an image with what the package's own model finds.
fn compare(package: &Path, name: &str, file: &Path) -> usize {
    let image = Image::decode(&fs::read(file).unwrap()).unwrap();
    let config = package.join("config");
    let onnx = config.join(key(package, name, "onnx-file"));
    let (described, outputs, place) = run(&onnx, &image);
    let dims = format!("3;{};{}", described.input.height, described.input.width);
    assert_eq!(key(package, name, "infer-dims"), dims);

    let library = config.join(key(package, name, "custom-lib-path"));
    let folder = fs::canonicalize(library.parent().unwrap()).unwrap();
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let source = files.into_iter().find(|path| path.extension().is_some_and(|end| end == "cpp")).unwrap();
    let symbol = key(package, name, "parse-bbox-func-name");
    let parser = Parser::compile(&fs::read_to_string(source).unwrap(), &symbol, &[]);
    let thresholds = Thresholds::for_head(&described.head);
    let classes: usize = key(package, name, "num-detected-classes").parse().unwrap();
    let layers: Vec<Layer> = outputs
        .iter()
        .map(|(name, tensor)| Layer::floats(name, &tensor.shape()[1..], &tensor.to_f32().unwrap()))
        .collect();
    let network = (described.input.width, described.input.height);
    let answer = parser.parse(network, &vec![thresholds.confidence; classes], &layers);
    assert!(answer.accepted, "{}", answer.told);
    let frame = (image.width(), image.height());
    let object = |object: &crate::nvinfer::Object| {
        let [x1, y1, x2, y2] = object.corners;
        let bbox = place.from_input_pixels(Xyxy::new(x1, y1, x2, y2)).clipped(frame.0, frame.1);
        Detection { bbox, score: object.score, label: object.label }
    };
    let mut found: Vec<Detection> = answer.objects.iter().map(object).collect();
    if let Head::Dense { iou: Some(iou), .. } = described.head {
        assert_eq!(key(package, name, "nms-iou-threshold"), iou.to_string());
        found = suppress(found, iou);
    }

    let (own, outputs, place) = run(&package.join(format!("model/{name}.onnx")), &image);
    let thresholds = Thresholds { clip: true, ..Thresholds::for_head(&own.head) };
    let expected = own.decode(&outputs, &[place], &thresholds).unwrap().remove(0);
    assert_eq!(found.len(), expected.len(), "{}", file.display());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found.label, expected.label);
        assert!((found.score - expected.score).abs() < 1e-4, "{found:?} {expected:?}");
        let (a, b) = (found.bbox, expected.bbox);
        for (a, b) in [(a.x1, b.x1), (a.y1, b.y1), (a.x2, b.x2), (a.y2, b.y2)] {
            assert!((a - b).abs() < 0.05, "{found:?} {expected:?}");
        }
    }
    found.len()
}

#[test]
fn the_trained_models_find_the_same_through_their_deepstream_files() {
    if !has_compiler() {
        println!("skipped: the_trained_models_find_the_same_through_their_deepstream_files: no `g++`");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (rtdetr, dense) = (example(), example().join("../shapes-dense/model.onnx"));
    for (name, source) in [("rtdetr", rtdetr), ("dense", dense)] {
        let arguments =
            ["--name", name, "--frame", "800x600", "--seconds", "1", "--max-batch", "2", "--json"];
        let ran = Ran::of(sightline(home.path()).arg("import").arg(source).args(arguments));
        assert!(ran.json()["passed"].as_bool().unwrap());
        let package = home.path().join("models").join(name);
        for file in ["deepstream_app_{}_perf.txt", "deepstream_app_{}_kitti.txt", "deepstream.md"] {
            assert!(package.join("config").join(file.replace("{}", name)).is_file(), "{file}");
        }
        assert!(package.join(format!("isaac_ros/{name}.launch.py")).is_file());
        let found = compare(&package, name, &example().join("val/images/000001.jpg"));
        assert!(found > 2, "{name}: {found}");
    }
    // For frames of another size the package changes, and what is checked later with it.
    let package = home.path().join("models/dense");
    let deployed = Ran::of(sightline(home.path()).args(["deploy", "models/dense", "--frame", "640x480"]));
    assert_eq!(deployed.code, Some(0), "{}", deployed.stderr);
    assert!(compare(&package, "dense", &example().join("val/images/000002.jpg")) > 0);
    let verified = Ran::of(sightline(home.path()).args(["verify", "models/dense"]));
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
}

/// The trained model with an input of bytes, which no video pipeline gives.
fn of_bytes(onnx: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let beside = |name: &str| Err(format!("no file `{name}`"));
    let model = onnx::read(fs::read(onnx).unwrap().into(), &beside).unwrap();
    let mut detector = Detector::from_json(&model.metadata[Detector::METADATA_KEY]).unwrap();
    let input = &mut detector.input;
    let mut b = Builder::new("bytes", model.opset());
    let shape = vec![Dim::batch(), 3.into(), (input.height as usize).into(), (input.width as usize).into()];
    let pixels = b.input("bytes", DataType::U8, shape);
    let pixels = b.cast(&pixels, DataType::F32);
    let scale = b.scalar(input.scale);
    let pixels = b.mul(&pixels, &scale);
    b.output(&input.tensor, &pixels);
    let front = b.finish("test", "1").unwrap();
    let mut model = model.fed_by(front, &[(&input.tensor, &input.tensor)]).unwrap();
    "bytes".clone_into(&mut input.tensor);
    (input.dtype, input.scale) = (ElementType::U8, 1.0);
    model.metadata.insert(Detector::METADATA_KEY.into(), detector.to_json());
    onnx::write(&model, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_target_that_cannot_run_a_detector_is_an_error_only_when_it_is_named() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("bytes.onnx"), of_bytes(&example().join("../shapes-dense/model.onnx")))
        .unwrap();
    let import = ["import", "bytes.onnx", "--name", "bytes", "--seconds", "1", "--max-batch", "2"];
    let named = Ran::of(sightline(home.path()).args(import).args(["--target", "deepstream"]));
    assert_eq!(named.code, Some(20), "{}", named.stderr);
    assert!(named.stderr.contains("takes bytes"), "{}", named.stderr);
    let all = Ran::of(sightline(home.path()).args(import));
    assert_eq!(all.code, Some(0), "{}", all.stderr);
    assert!(
        all.stderr.contains("`deepstream` cannot run this detector") && all.stderr.contains("left out"),
        "{}",
        all.stderr
    );
    let package = home.path().join("models/bytes");
    assert!(package.join("onnxruntime").is_dir() && !package.join("parser").exists());
    let deploy = |more: &[&str]| Ran::of(sightline(home.path()).args(["deploy", "models/bytes"]).args(more));
    assert_eq!(deploy(&["--target", "deepstream"]).code, Some(20));
    let all = deploy(&[]);
    assert_eq!(all.code, Some(0));
    assert!(all.stderr.contains("left out"), "{}", all.stderr);
}

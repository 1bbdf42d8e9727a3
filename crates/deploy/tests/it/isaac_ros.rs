//! The target `isaac-ros`: its files as stored, and its launch file executed with stand-ins for ROS.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use deploy::targets::{Deployment, Graphs, target};
use deploy::{Content, Error, FileTree, Precision};
use detect::{
    Activation, BoxFormat, ChannelOrder, DenseLayout, Detector, ElementType, Head, Resize, Thresholds,
};
use graph::{DataType, Dim, ValueInfo};
use serde::Deserialize;
use serde_json::Value;

use crate::{golden, variants};

fn tree(name: &str) -> FileTree {
    variants::deployed(name, |deployment| target("isaac-ros").unwrap().render(deployment).unwrap())
}

#[test]
fn the_tree_is_the_stored_one() {
    for name in variants::NAMES {
        let tree = tree(name);
        let launch = format!("isaac_ros/{name}.launch.py");
        let files: Vec<&str> = tree.iter().map(|(path, _)| path).collect();
        let mut expected = ["isaac_ros/README.md", "isaac_ros/detector.json", launch.as_str()];
        expected.sort_unstable();
        assert_eq!(files, expected);
        let own = std::str::from_utf8(tree.bytes("isaac_ros/detector.json").unwrap()).unwrap();
        let launched = variants::deployed(name, described);
        assert_eq!(Detector::from_json(own).unwrap(), launched);
        for path in files {
            let text = std::str::from_utf8(tree.bytes(path).unwrap()).unwrap();
            assert!(!text.contains('@'), "{path} has an unfilled place");
            golden::check(&format!("isaac_ros/{name}/{}", path.trim_start_matches("isaac_ros/")), text);
        }
    }
}

/// What the launch file starts.
#[derive(Deserialize)]
struct Launched {
    arguments: BTreeMap<String, String>,
    includes: Vec<Included>,
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Included {
    file: String,
    arguments: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Container {
    name: String,
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    package: String,
    plugin: String,
    parameters: BTreeMap<String, Value>,
}

impl Launched {
    fn node(&self, plugin: &str) -> Option<&Node> {
        self.containers[0].nodes.iter().find(|node| node.plugin.ends_with(plugin))
    }

    fn encoder(&self) -> &BTreeMap<String, String> {
        assert!(
            self.includes[0].file.ends_with("isaac_ros_dnn_image_encoder/launch/dnn_image_encoder.launch.py")
        );
        assert_eq!(self.includes[0].arguments["component_container_name"], self.containers[0].name);
        &self.includes[0].arguments
    }
}

/// Whether Python is there.
fn has_python() -> bool {
    Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// A folder with the tree, as a package.
fn written(tree: FileTree) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in tree {
        let Content::Bytes(bytes) = content else { panic!("{path}") };
        let place = folder.path().join(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, bytes).unwrap();
    }
    folder
}

fn launch(package: &Path, name: &str, arguments: &[&str]) -> Launched {
    let output = executed(package, name, arguments);
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a launch file says that does not start.
fn refused(package: &Path, name: &str, arguments: &[&str]) -> String {
    let output = executed(package, name, arguments);
    assert!(!output.status.success(), "{name}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn executed(package: &Path, name: &str, arguments: &[&str]) -> Output {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/isaac_ros/execute.py");
    let mut command = Command::new("python3");
    command.arg("-B").arg(program).arg(package.join(format!("isaac_ros/{name}.launch.py")));
    command.args(arguments).output().unwrap()
}

fn numbers(text: &str) -> Vec<f32> {
    serde_json::from_str(text).unwrap()
}

/// The description of the graph that is launched.
fn described(deployment: &Deployment<'_>) -> Detector {
    let models = target("isaac-ros").unwrap().models(deployment).unwrap();
    models.first().map_or_else(|| deployment.detector.clone(), |model| model.scaled.described().clone())
}

#[test]
fn the_encoder_is_told_what_the_detector_says() {
    if !has_python() {
        println!("skipped: the_encoder_is_told_what_the_detector_says: no `python3`");
        return;
    }
    for name in variants::NAMES {
        let package = written(tree(name));
        let launched = launch(package.path(), name, &[]);
        let (detector, models) = variants::deployed(name, |deployment| {
            (described(deployment), target("isaac-ros").unwrap().models(deployment).unwrap())
        });
        let (encoder, input) = (launched.encoder(), &detector.input);
        assert_eq!(encoder["network_image_width"], input.width.to_string());
        assert_eq!(encoder["network_image_height"], input.height.to_string());
        assert_eq!(
            (encoder["input_image_width"].as_str(), encoder["input_image_height"].as_str()),
            ("1280", "720")
        );
        assert_eq!(encoder["keep_aspect_ratio"], "False", "every one of these stretches, or is made to");
        assert_eq!(
            encoder["encoding_desired"],
            if input.channels == ChannelOrder::Rgb { "rgb8" } else { "bgr8" }
        );
        let (mean, std) = (numbers(&encoder["image_mean"]), numbers(&encoder["image_stddev"]));
        for channel in 0..3 {
            for pixel in [0.0_f32, 114.0, 255.0] {
                let expected = (pixel * input.scale - input.mean[channel]) / input.std[channel];
                let found = (pixel / 255.0 - mean[channel]) / std[channel];
                assert!(
                    (found - expected).abs() < 1e-5 * expected.abs().max(1.0),
                    "{name}: {found} {expected}"
                );
            }
        }
        let tensorrt = launched.node("dnn_inference::TensorRTNode").unwrap();
        assert_eq!(tensorrt.package, "isaac_ros_tensor_rt");
        let parameters = &tensorrt.parameters;
        let file = models.first().map_or_else(|| format!("model/{name}.onnx"), |model| model.path.clone());
        assert_eq!(
            PathBuf::from(parameters["model_file_path"].as_str().unwrap()),
            package.path().join(&file)
        );
        let stem = file.trim_start_matches("model/").trim_end_matches(".onnx");
        let engine = package.path().join(format!("benchmarks/engines/{stem}_dynamic_b4.engine"));
        assert_eq!(PathBuf::from(parameters["engine_file_path"].as_str().unwrap()), engine);
        let inputs: Vec<&str> =
            std::iter::once(input.tensor.as_str()).chain(input.image_size.as_deref()).collect();
        assert_eq!(parameters["input_binding_names"], serde_json::json!(inputs));
        assert_eq!(parameters["output_binding_names"], serde_json::json!(detector.head.outputs()));
        assert_eq!(parameters["output_tensor_names"], parameters["output_binding_names"]);
        assert_eq!(parameters["enable_fp16"], false);
        // The tensor that the encoder makes is the one that is taken.
        if input.image_size.is_none() {
            assert_eq!(parameters["input_tensor_names"], serde_json::json!([encoder["final_tensor_name"]]));
            assert_eq!(encoder["tensor_output_topic"], "/tensor_pub");
        }
    }
}

#[test]
fn triton_takes_the_same_tensors_where_its_repository_has_the_graph() {
    if !has_python() {
        println!("skipped: triton_takes_the_same_tensors_where_its_repository_has_the_graph: no `python3`");
        return;
    }
    for name in variants::NAMES {
        let package = written(tree(name));
        let is_made = variants::deployed(name, |deployment| {
            !target("isaac-ros").unwrap().models(deployment).unwrap().is_empty()
        });
        if is_made {
            let words = refused(package.path(), name, &["backend:=triton"]);
            assert!(words.contains("use backend:=tensorrt"), "{words}");
            continue;
        }
        let (plain, triton) =
            (launch(package.path(), name, &[]), launch(package.path(), name, &["backend:=triton"]));
        assert!(triton.node("TensorRTNode").is_none());
        let node = triton.node("dnn_inference::TritonNode").unwrap();
        assert_eq!(
            (node.package.as_str(), &node.parameters["model_name"]),
            ("isaac_ros_triton", &name.into())
        );
        let repository = package.path().join("triton");
        assert_eq!(node.parameters["model_repository_paths"], serde_json::json!([repository]));
        let tensorrt = plain.node("TensorRTNode").unwrap();
        for key in
            ["input_tensor_names", "input_binding_names", "output_tensor_names", "output_binding_names"]
        {
            assert_eq!(node.parameters[key], tensorrt.parameters[key], "{name} {key}");
        }
        assert_eq!(triton.containers[0].nodes.len(), plain.containers[0].nodes.len());
    }
}

#[test]
fn an_engine_that_is_there_is_not_made_again() {
    if !has_python() {
        println!("skipped: an_engine_that_is_there_is_not_made_again: no `python3`");
        return;
    }
    let package = written(tree("queries"));
    let forced = |arguments: &[&str]| {
        let launched = launch(package.path(), "queries", arguments);
        assert_eq!(launched.arguments["force_engine_update"], "");
        launched.node("TensorRTNode").unwrap().parameters["force_engine_update"].clone()
    };
    assert_eq!(forced(&[]), true);
    assert_eq!(forced(&["force_engine_update:=False"]), false);
    std::fs::write(package.path().join("benchmarks/engines/queries_dynamic_b4.engine"), "plan").unwrap();
    assert_eq!(forced(&[]), false);
    assert_eq!(forced(&["force_engine_update:=True"]), true);
}

/// Launches a detector of another head, whose file states these outputs.
fn launched(detector: &Detector, outputs: &[ValueInfo]) -> (Launched, String) {
    let name = "another".parse().unwrap();
    let tree = target("isaac-ros").unwrap().render(&deployment(&name, detector, outputs)).unwrap();
    let readme = String::from_utf8(tree.bytes("isaac_ros/README.md").unwrap().to_vec()).unwrap();
    let package = written(tree);
    (launch(package.path(), "another", &["input_image_width:=640", "input_image_height:=480"]), readme)
}

fn deployment<'a>(
    name: &'a deploy::PackageName,
    detector: &'a Detector,
    outputs: &'a [ValueInfo],
) -> Deployment<'a> {
    Deployment {
        name,
        detector,
        model: "model/another.onnx",
        outputs,
        precisions: &[Precision::Fp32],
        max_batch: 1,
        frame: (1280, 720),
        graphs: Graphs::NONE,
        engine: None,
    }
}

fn output(name: &str, dtype: DataType, sizes: &[usize]) -> ValueInfo {
    let shape = std::iter::once(Dim::batch()).chain(sizes.iter().map(|size| (*size).into()));
    ValueInfo::tensor(name, dtype, shape.collect())
}

#[test]
fn rt_detr_of_its_own_repository_gets_its_own_nodes() {
    if !has_python() {
        println!("skipped: rt_detr_of_its_own_repository_gets_its_own_nodes: no `python3`");
        return;
    }
    let mut detector = variants::detector("queries");
    detector.input.tensor = "images".into();
    detector.input.image_size = Some("orig_target_sizes".into());
    detector.head = Head::EndToEndParts {
        count: None,
        boxes: "boxes".into(),
        scores: Some("scores".into()),
        classes: "labels".into(),
        format: BoxFormat::XyxyOriginal,
        confidence: 0.6,
        clip: false,
    };
    let outputs = [
        output("labels", DataType::I64, &[300]),
        output("boxes", DataType::F32, &[300, 4]),
        output("scores", DataType::F32, &[300]),
    ];
    let (found, readme) = launched(&detector, &outputs);
    let sizes = &found.node("RtDetrPreprocessorNode").unwrap().parameters;
    assert_eq!(found.encoder()["tensor_output_topic"], "/encoded_tensor");
    assert_eq!(sizes["input_image_tensor_name"], found.encoder()["final_tensor_name"].as_str());
    assert_eq!((&sizes["image_width"], &sizes["image_height"]), (&640.into(), &480.into()));
    assert_eq!(sizes["use_max_dim_for_orig_size"], false);
    let tensorrt = &found.node("TensorRTNode").unwrap().parameters;
    assert!(tensorrt["model_file_path"].as_str().unwrap().ends_with("/model/another.onnx"));
    assert_eq!(tensorrt["input_tensor_names"], serde_json::json!(["images", "orig_target_sizes"]));
    let decoder = &found.node("RtDetrDecoderNode").unwrap().parameters;
    assert_eq!(decoder["boxes_tensor_name"], "boxes");
    assert_eq!(
        (&decoder["scores_tensor_name"], &decoder["labels_tensor_name"]),
        (&"scores".into(), &"labels".into())
    );
    let confidence = decoder["confidence_threshold"].as_f64().unwrap();
    assert!((confidence - f64::from(Thresholds::for_head(&detector.head).confidence)).abs() < 1e-6);
    assert!(readme.contains("detections_output"));
    // Class ids that the node refuses: no decoder, and the tensors are named.
    let (found, readme) = launched(
        &detector,
        &[output("labels", DataType::I32, &[300]), outputs[1].clone(), outputs[2].clone()],
    );
    assert!(found.node("RtDetrDecoderNode").is_none());
    assert!(readme.contains("No decoder of Isaac ROS fits") && readme.contains("| `labels` | output |"));
}

#[test]
fn yolo_of_the_usual_size_gets_the_decoder() {
    if !has_python() {
        println!("skipped: yolo_of_the_usual_size_gets_the_decoder: no `python3`");
        return;
    }
    let mut detector = variants::detector("queries");
    (detector.input.width, detector.input.height) = (640, 640);
    detector.input.resize = Resize::Letterbox { fill: 114, centred: true, upscale: true };
    detector.head = Head::Dense {
        output: "output0".into(),
        layout: DenseLayout::ChannelsFirst,
        objectness: false,
        format: BoxFormat::CxcywhPixels,
        activation: Activation::None,
        iou: Some(0.7),
        confidence: 0.25,
    };
    let (found, readme) = launched(&detector, &[output("output0", DataType::F32, &[8, 8400])]);
    let decoder = &found.node("YoloV8DecoderNode").unwrap().parameters;
    assert_eq!(decoder["tensor_name"], "output0");
    assert_eq!((&decoder["num_classes"], &decoder["confidence_threshold"]), (&4.into(), &0.25.into()));
    assert!((decoder["nms_threshold"].as_f64().unwrap() - 0.7).abs() < 1e-6);
    // Grey padding is in the graph, so the encoder gives the picture without it.
    assert_eq!(found.encoder()["network_image_height"], "360");
    assert!(
        found.node("TensorRTNode").unwrap().parameters["model_file_path"]
            .as_str()
            .unwrap()
            .contains("_video")
    );
    assert!(readme.contains("640x360") && readme.contains("--frame"));
    // Black padding is the encoder's own.
    detector.input.resize = Resize::Letterbox { fill: 0, centred: true, upscale: true };
    let (found, _) = launched(&detector, &[output("output0", DataType::F32, &[8, 2100])]);
    assert_eq!(found.encoder()["keep_aspect_ratio"], "True");
    assert_eq!(found.encoder()["network_image_height"], "640");
    assert!(found.node("YoloV8DecoderNode").is_none(), "the node reads 8400 rows, whatever there is");
}

#[test]
fn a_detector_that_the_encoder_cannot_feed_is_refused() {
    let mut detector = variants::detector("queries");
    detector.input.scale = 1.0;
    detector.input.dtype = ElementType::U8;
    let name = "another".parse().unwrap();
    let error = target("isaac-ros").unwrap().render(&deployment(&name, &detector, &[])).unwrap_err();
    assert!(matches!(error, Error::Inexpressible { target: "isaac-ros", .. }), "{error}");
}

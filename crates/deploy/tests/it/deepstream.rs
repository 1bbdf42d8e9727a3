//! The target `deepstream`: its files as stored, and whether what they say is the detector.

use std::collections::BTreeMap;

use deploy::targets::{Deployment, Graphs, USUAL_FRAME, target};
use deploy::{Content, Engine, Error, FileTree, Precision};
use detect::{Detector, ElementType, Geometry, Labels, Resize};

use crate::{golden, variants};

fn tree(name: &str) -> FileTree {
    variants::deployed(name, |deployment| target("deepstream").unwrap().render(deployment).unwrap())
}

fn text<'a>(tree: &'a FileTree, path: &str) -> &'a str {
    std::str::from_utf8(tree.bytes(path).unwrap_or_else(|| panic!("no `{path}`"))).unwrap()
}

/// The groups of a config file, as `GLib`'s key files have them.
fn groups(text: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut groups: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut group = String::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            name.clone_into(&mut group);
            assert!(groups.insert(group.clone(), BTreeMap::new()).is_none(), "[{group}] twice");
        } else {
            let (key, value) = line.split_once('=').unwrap();
            let before = groups.get_mut(&group).unwrap().insert(key.to_owned(), value.to_owned());
            assert!(before.is_none(), "{key} twice");
        }
    }
    groups
}

#[test]
fn the_tree_is_the_stored_one() {
    for name in variants::NAMES {
        let tree = tree(name);
        for (path, content) in tree.iter() {
            let Content::Bytes(bytes) = content else { panic!("{path}") };
            let text = std::str::from_utf8(bytes).unwrap();
            let is_key =
                |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
            assert!(!text.split('@').skip(1).any(is_key), "{path} has an unfilled place");
            golden::check(&format!("deepstream/{name}/{path}"), text);
        }
        assert!(tree.len() >= 7, "{name}");
    }
}

#[test]
fn every_path_is_there_or_made_by_a_command_that_the_readme_gives() {
    for name in variants::NAMES {
        let tree = tree(name);
        let models =
            variants::deployed(name, |deployment| target("deepstream").unwrap().models(deployment).unwrap());
        let readme = text(&tree, "config/deepstream.md");
        let in_package = |path: &str| {
            tree.get(path).is_some()
                || ["config/labels.txt", "config/calibration.cache"].contains(&path)
                || models.iter().any(|model| model.path == path)
                || (models.is_empty() && path.starts_with("model/") && path.contains(".onnx"))
        };
        let mut seen = 0;
        for (path, _) in tree.iter().filter(|(path, _)| path.contains(".txt") && !path.contains("labels")) {
            for (group, keys) in groups(text(&tree, path)) {
                for (key, value) in keys {
                    let names_file = ["-file", "-path", "-dir"].iter().any(|end| key.ends_with(end));
                    if !names_file || key == "uri" {
                        continue;
                    }
                    seen += 1;
                    // What deepstream-app's sink writes is relative to where it is started.
                    let from_root = match value.strip_prefix("../") {
                        Some(path) => path.to_owned(),
                        None if key == "output-file" => value.clone(),
                        None => format!("config/{value}"),
                    };
                    let made = match key.as_str() {
                        "model-engine-file" => readme.contains(&format!("--saveEngine={from_root}\n")),
                        "custom-lib-path" => {
                            readme.contains(&format!("`{from_root}`")) && readme.contains("make -C parser")
                        }
                        "gie-kitti-output-dir" => readme.contains(&format!("mkdir -p {from_root}\n")),
                        "output-file" => readme.contains(&format!("`{from_root}`")),
                        _ => in_package(&from_root),
                    };
                    assert!(made, "{name}: [{group}] {key}={value} of {path} is nowhere");
                }
            }
        }
        assert!(seen >= 8, "{name}: {seen}");
    }
}

/// What nvinfer makes of a pixel by its keys.
fn of_nvinfer(keys: &BTreeMap<String, String>, channel: usize, pixel: f32) -> f32 {
    let offsets = keys.get("offsets").map_or_else(Vec::new, |offsets| offsets.split(';').collect());
    let offset = offsets.get(channel).map_or(0.0, |offset| offset.parse::<f32>().unwrap());
    keys["net-scale-factor"].parse::<f32>().unwrap() * (pixel - offset)
}

#[test]
fn nvinfer_is_told_what_the_detector_says() {
    for name in variants::NAMES {
        let tree = tree(name);
        let described = variants::deployed(name, |deployment| {
            let models = target("deepstream").unwrap().models(deployment).unwrap();
            models
                .first()
                .map_or_else(|| deployment.detector.clone(), |model| model.scaled.described().clone())
        });
        let all = groups(text(&tree, &format!("config/config_infer_primary_{name}.txt")));
        let keys = &all["property"];
        let input = &described.input;
        assert_eq!(keys["infer-dims"], format!("3;{};{}", input.height, input.width));
        for channel in 0..3 {
            for pixel in [0.0_f32, 1.0, 114.0, 255.0] {
                let expected = (pixel * input.scale - input.mean[channel]) / input.std[channel];
                let found = of_nvinfer(keys, channel, pixel);
                assert!(
                    (found - expected).abs() < 2e-6 * expected.abs().max(1.0),
                    "{name}: {found} {expected}"
                );
            }
        }
        assert_eq!(keys["num-detected-classes"], described.labels.len().to_string());
        assert_eq!(keys["model-color-format"], if name == "objectness" { "1" } else { "0" });
        assert_eq!((keys["network-type"].as_str(), keys["network-mode"].as_str()), ("0", "0"));
        assert_eq!(keys["batch-size"], "4");
        let suppresses = matches!(name, "dense" | "objectness");
        assert_eq!(keys["cluster-mode"], if suppresses { "2" } else { "4" });
        let thresholds = detect::Thresholds::for_head(&described.head);
        let classes = &all["class-attrs-all"];
        assert_eq!(classes["pre-cluster-threshold"], thresholds.confidence.to_string());
        assert_eq!(classes.get("nms-iou-threshold").is_some(), suppresses);
        if suppresses {
            assert_eq!(classes["nms-iou-threshold"], thresholds.iou.to_string());
        }
        // The muxer gives frames that the graph is made for.
        let geometry = Geometry::new(input, USUAL_FRAME);
        assert_eq!((geometry.offset, geometry.resized), ((0, 0), (input.width, input.height)));
        for run in ["single", "kitti", "perf"] {
            let app = groups(text(&tree, &format!("config/deepstream_app_{name}_{run}.txt")));
            let mux = &app["streammux"];
            assert_eq!((mux["width"].as_str(), mux["height"].as_str()), ("1280", "720"));
            let streams = if run == "perf" { "4" } else { "1" };
            for batch in
                [&mux["batch-size"], &app["primary-gie"]["batch-size"], &app["source0"]["num-sources"]]
            {
                assert_eq!(batch, streams);
            }
            assert_eq!(app["application"].contains_key("gie-kitti-output-dir"), run == "kitti");
            assert_eq!(app["application"]["enable-perf-measurement"] == "1", run != "kitti");
        }
    }
}

#[test]
fn each_precision_is_built_as_it_was_verified() {
    let tree = tree("queries");
    let keys = |file: &str| {
        groups(text(&tree, &format!("config/config_infer_primary_queries{file}.txt")))["property"].clone()
    };
    let (fp32, fp16, int8) = (keys(""), keys("_fp16"), keys("_int8"));
    assert_eq!(fp32["onnx-file"], "../model/queries.onnx");
    assert_eq!(fp32["model-engine-file"], "../benchmarks/engines/queries_dynamic_b4.engine");
    assert!(!fp32.contains_key("strongly-typed") && !fp32.contains_key("int8-calib-file"));
    assert_eq!((fp16["network-mode"].as_str(), fp16["strongly-typed"].as_str()), ("0", "1"));
    assert_eq!(fp16["onnx-file"], "../model/queries_fp16.onnx");
    assert_eq!(fp16["model-engine-file"], "../benchmarks/engines/queries_fp16_dynamic_b4.engine");
    assert_eq!((int8["network-mode"].as_str(), int8["int8-calib-file"].as_str()), ("1", "calibration.cache"));
    assert_eq!(int8["onnx-file"], "../model/queries.onnx");
    assert_eq!(int8["model-engine-file"], "../benchmarks/engines/queries_int8_dynamic_b4.engine");
}

/// Renders a changed detector.
fn rendered(change: impl FnOnce(&mut Detector)) -> Result<FileTree, Error> {
    rendered_with(None, change)
}

/// The same, with an engine.
fn rendered_with(engine: Option<&Engine>, change: impl FnOnce(&mut Detector)) -> Result<FileTree, Error> {
    let mut detector = variants::detector("queries");
    change(&mut detector);
    target("deepstream").unwrap().render(&Deployment {
        name: &"changed".parse().unwrap(),
        detector: &detector,
        model: "model/changed.onnx",
        outputs: &[],
        precisions: &[Precision::Fp32],
        max_batch: 2,
        frame: USUAL_FRAME,
        graphs: Graphs::NONE,
        engine,
    })
}

#[test]
fn configs_name_the_engine_that_was_built_of_their_graph() {
    let own = |config: &FileTree| {
        let perf = groups(text(config, "config/deepstream_app_changed_perf.txt"));
        let keys = property(config);
        [
            keys["model-engine-file"].clone(),
            keys["batch-size"].clone(),
            perf["source0"]["num-sources"].clone(),
            perf["streammux"]["batch-size"].clone(),
        ]
    };
    let unchanged = rendered(|_| {}).unwrap();
    assert_eq!(own(&unchanged), ["../benchmarks/engines/changed_dynamic_b2.engine", "2", "2", "2"]);
    let graph = property(&unchanged)["onnx-file"].trim_start_matches("../").to_owned();
    let mut engine = Engine {
        path: "benchmarks/engines/changed_dynamic_b128.engine".into(),
        bytes: 1,
        precision: Precision::Fp16,
        max_batch: 128,
        workspace_mib: Some(1),
        timing_cache: None,
        optimization_level: None,
        build_seconds: 1.0,
        built_from: graph,
        build: None,
    };
    let built = rendered_with(Some(&engine), |_| {}).unwrap();
    assert_eq!(own(&built), ["../benchmarks/engines/changed_dynamic_b128.engine", "128", "128", "128"]);
    // INT8 by calibration cache is another config's, and so is another graph.
    for change in [
        |engine: &mut Engine| engine.precision = Precision::Int8,
        |engine: &mut Engine| {
            engine.precision = Precision::Fp16;
            engine.built_from = "model/other.onnx".into();
        },
    ] {
        change(&mut engine);
        assert_eq!(own(&rendered_with(Some(&engine), |_| {}).unwrap()), own(&unchanged));
    }
}

/// A change of a detector, and what it adds to the name of the graph.
type Change = (fn(&mut Detector), &'static str);

fn property(tree: &FileTree) -> BTreeMap<String, String> {
    groups(text(tree, "config/config_infer_primary_changed.txt"))["property"].clone()
}

#[test]
fn what_nvinfer_has_a_key_for_stays_in_the_config() {
    let one_deviation = rendered(|detector| {
        detector.input.mean = [0.5, 0.25, 0.75];
        detector.input.std = [0.5; 3];
    });
    let keys = property(&one_deviation.unwrap());
    assert_eq!(keys["onnx-file"], "../model/changed.onnx");
    assert!((keys["net-scale-factor"].parse::<f32>().unwrap() - 2.0 / 255.0).abs() < 1e-9);
    let offsets: Vec<f32> = keys["offsets"].split(';').map(|offset| offset.parse().unwrap()).collect();
    for (offset, expected) in offsets.iter().zip([127.5, 63.75, 191.25]) {
        assert!((offset - expected).abs() < 1e-4, "{offset}");
    }
    for (centred, symmetric) in [(true, "1"), (false, "0")] {
        let black = rendered(|detector| {
            detector.input.resize = Resize::Letterbox { fill: 0, centred, upscale: true }
        });
        let keys = property(&black.unwrap());
        assert_eq!(keys["onnx-file"], "../model/changed.onnx");
        assert_eq!(
            (keys["maintain-aspect-ratio"].as_str(), keys["symmetric-padding"].as_str()),
            ("1", symmetric)
        );
    }
}

#[test]
fn what_nvinfer_has_no_key_for_goes_into_a_graph() {
    let changes: [Change; 4] = [
        (|detector| detector.input.std = [0.229, 0.224, 0.225], ""),
        (|detector| detector.input.dtype = ElementType::F16, ""),
        // What depends on the frame is made for one size, which is in its name and in its engine's.
        (
            |detector| detector.input.resize = Resize::Letterbox { fill: 114, centred: true, upscale: true },
            "_1280x720",
        ),
        (
            |detector| detector.input.resize = Resize::Letterbox { fill: 0, centred: true, upscale: false },
            "_1280x720",
        ),
    ];
    for (change, size) in changes {
        let keys = property(&rendered(change).unwrap());
        assert_eq!(keys["onnx-file"], format!("../model/changed_video{size}.onnx"));
        let engine = format!("../benchmarks/engines/changed_video{size}_dynamic_b2.engine");
        assert_eq!(keys["model-engine-file"], engine);
        assert_eq!((keys["net-scale-factor"].as_str(), keys.get("offsets")), ("1", None));
        assert_eq!(keys["maintain-aspect-ratio"], "0");
    }
}

#[test]
fn a_detector_that_nvinfer_cannot_feed_is_refused() {
    let error = rendered(|detector| {
        detector.input.scale = 1.0;
        detector.input.dtype = ElementType::U8;
        detector.input.resize = Resize::Letterbox { fill: 114, centred: true, upscale: true };
    });
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Inexpressible { target: "deepstream", .. }), "{error}");
    assert!(error.to_string().contains("takes bytes") && error.hint().is_some(), "{error}");
}

#[test]
fn labels_with_semicolons_get_a_file_of_their_own() {
    let plain = rendered(|_| {}).unwrap();
    assert_eq!(property(&plain)["labelfile-path"], "labels.txt");
    let tree = rendered(|detector| {
        detector.labels = Labels::new([(0, "cat; small".to_owned()), (2, "dog".to_owned())]).unwrap();
    });
    let tree = tree.unwrap();
    assert_eq!(property(&tree)["labelfile-path"], "labels_deepstream.txt");
    assert_eq!(text(&tree, "config/labels_deepstream.txt"), "cat, small\nN/A\ndog\n");
}

//! The target `triton`: its configurations as stored, and its DALI pipeline run on the CPU.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use deploy::targets::triton::{self, Message, Options, Tier};
use deploy::targets::{DeliveredGraph, Deployment, Form, Graphs, USUAL_FRAME};
use deploy::{Content, FileTree, PackageName, Precision};
use detect::in_graph::{Suppression, SuppressionForm, preprocess_in_graph, suppress_in_graph};
use detect::{
    ChannelOrder, Detector, ElementType, Filter, Frames, Image, ImageInput, PixelMask, Resize, preprocess,
};
use graph::{DataType, Dim, Model, ValueInfo};
use serde::Deserialize;

use crate::{golden, variants};

/// The model of a fixture, with a batch of any size where that is wanted: only what it states counts here.
fn model(name: &str, batched: bool) -> Model {
    let bytes = std::fs::read(variants::fixture(&format!("{name}.onnx"))).unwrap();
    let mut model = graph::onnx::read_structure(bytes.into()).unwrap();
    let graph = &mut model.graph;
    for info in graph.inputs.iter_mut().chain(&mut graph.outputs).filter(|_| batched) {
        info.shape.as_mut().unwrap()[0] = Dim::batch();
    }
    model
}

fn delivered(name: &str, form: Form, model: &Model, detector: Detector) -> DeliveredGraph {
    let path = deploy::paths::form(&name.parse().unwrap(), form);
    let (inputs, outputs) = (model.graph.inputs.clone(), model.graph.outputs.clone());
    DeliveredGraph { form, path, detector, inputs, outputs, engine: None }
}

fn graphs(name: &str, batched: bool) -> Graphs {
    let detector = variants::detector(name);
    let plain = model(name, batched);
    let mut graphs = Graphs { max_batch: 8, ..Graphs::default() };
    graphs.made.push(delivered(name, Form::Plain, &plain, detector.clone()));
    let options = Suppression::new(SuppressionForm::Onnx);
    let suppressed = suppress_in_graph(plain, &detector, &options).unwrap();
    if suppressed.1 != detector {
        graphs.made.push(delivered(name, Form::EndToEnd, &suppressed.0, suppressed.1.clone()));
    }
    match preprocess_in_graph(suppressed.0, &suppressed.1, Frames::Rgb) {
        Ok((model, detector)) => graphs.made.push(delivered(name, Form::Raw, &model, detector)),
        Err(error) => graphs.refused.push((Form::Raw, error.to_string())),
    }
    graphs
}

fn deployment<'a>(
    name: &'a PackageName,
    detector: &'a Detector,
    model: &'a str,
    graphs: &'a Graphs,
) -> Deployment<'a> {
    let precisions = &[Precision::Fp32];
    Deployment {
        name,
        detector,
        model,
        outputs: &[],
        precisions,
        max_batch: 8,
        frame: USUAL_FRAME,
        graphs,
        engine: None,
    }
}

fn tree(name: &str, graphs: &Graphs, options: &Options) -> FileTree {
    let (detector, package) = (variants::detector(name), name.parse().unwrap());
    let model = format!("model/{name}.onnx");
    let deployment = deployment(&package, &detector, &model, graphs);
    triton::render(&deployment, options).unwrap()
}

fn text<'a>(tree: &'a FileTree, path: &str) -> &'a str {
    std::str::from_utf8(tree.bytes(path).unwrap_or_else(|| panic!("no {path}"))).unwrap()
}

#[test]
fn the_repository_is_the_stored_one() {
    for (name, batched) in [("dense", true), ("queries", true), ("parts", true), ("end_to_end", false)] {
        let mut graphs = graphs(name, batched);
        let tree = tree(name, &graphs, &Options::default());
        let files: Vec<String> = tree.iter().map(|(path, _)| format!("{path}\n")).collect();
        golden::check(&format!("triton/{name}/files.txt"), &files.concat());
        for (path, content) in tree.iter() {
            let is_text =
                [".pbtxt", "dali.py", "build.sh", "README.md"].iter().any(|end| path.ends_with(end));
            // The tiers differ in few lines: those of one network are enough to see them.
            let is_tier = path.contains("/configs/") || path.matches('.').count() > 1;
            if is_text && (!is_tier || name == "dense") {
                let Content::Bytes(bytes) = content else { panic!("{path} is a link") };
                let text = std::str::from_utf8(bytes).unwrap();
                golden::check(&format!("triton/{name}/{}", path.trim_start_matches("triton/")), text);
            }
        }
        // With engines there is nothing to build, and the ensemble runs the engine.
        for graph in &mut graphs.made {
            graph.engine = Some(format!("benchmarks/engines/{name}{}.engine", graph.form.suffix()));
        }
        let built = self::tree(name, &graphs, &Options::default());
        assert!(built.get("triton/build.sh").is_none());
        let plan = Content::SameAs(format!("benchmarks/engines/{name}.engine"));
        assert_eq!(built.get(&format!("triton/{name}_trt/1/model.plan")), Some(&plan));
        // DALI has no cubic filter of the kind that `parts` wants.
        if batched && name != "parts" {
            let ensemble = text(&built, &format!("triton/{name}_ensemble/config.pbtxt"));
            let steps = Message::parse(ensemble).unwrap();
            let steps = steps.messages("ensemble_scheduling")[0].messages("step");
            assert!(steps[1].scalar("model_name").unwrap().starts_with(&format!("{name}_trt")), "{ensemble}");
        }
    }
}

#[test]
fn every_tier_can_be_the_main_one() {
    let graphs = graphs("dense", true);
    for tier in Tier::ALL {
        let tree = tree("dense", &graphs, &Options { tier, versions: "1,3".parse().unwrap() });
        let config = Message::parse(text(&tree, "triton/dense/config.pbtxt")).unwrap();
        let delay = config.messages("dynamic_batching")[0].scalar("max_queue_delay_microseconds").unwrap();
        assert_eq!(delay, ["100", "500", "5000"][Tier::ALL.iter().position(|one| *one == tier).unwrap()]);
        let versions = config.messages("version_policy")[0].messages("specific")[0].scalars("versions");
        assert_eq!(versions, ["1", "3"]);
        for other in Tier::ALL {
            let path = format!("triton/dense/configs/{other}.pbtxt");
            assert_eq!(tree.get(&path).is_some(), other != tier, "{path}");
        }
    }
}

#[test]
fn shapes_and_types_are_the_graphs() {
    let mut graphs = graphs("dense", true);
    graphs.made.truncate(1);
    let batch = || Dim::batch();
    let unknown = Dim::Unknown;
    graphs.made[0].outputs = vec![
        ValueInfo::tensor("a", DataType::F16, vec![batch()]),
        ValueInfo::tensor("b", DataType::I64, vec![batch(), unknown.clone(), 4.into()]),
    ];
    let config = |graphs: &Graphs| {
        Message::parse(text(&tree("dense", graphs, &Options::default()), "triton/dense/config.pbtxt"))
            .unwrap()
    };
    let read = config(&graphs);
    assert_eq!(read.scalar("max_batch_size"), Some("8"));
    let outputs = read.messages("output");
    assert_eq!((outputs[0].scalar("data_type"), outputs[0].scalars("dims")), (Some("TYPE_FP16"), vec!["1"]));
    assert!(outputs[0].messages("reshape")[0].scalars("shape").is_empty());
    assert_eq!(
        (outputs[1].scalar("data_type"), outputs[1].scalars("dims")),
        (Some("TYPE_INT64"), vec!["-1", "4"])
    );
    // One output without the batch in front, and the whole model has none.
    graphs.made[0].outputs[1].shape = Some(vec![unknown, 4.into()]);
    let read = config(&graphs);
    assert_eq!(read.scalar("max_batch_size"), Some("0"));
    assert_eq!(read.messages("input")[0].scalars("dims")[..2], ["-1", "3"]);
    assert!(read.messages("dynamic_batching").is_empty());

    for (info, reason) in [
        (ValueInfo { dtype: None, ..ValueInfo::tensor("c", DataType::F32, vec![batch()]) }, "type"),
        (ValueInfo { shape: None, ..ValueInfo::tensor("c", DataType::F32, vec![]) }, "shape"),
        (ValueInfo::tensor("c", DataType::Complex64, vec![batch()]), "no such type"),
    ] {
        graphs.made[0].outputs = vec![info];
        let (detector, package) = (variants::detector("dense"), "dense".parse().unwrap());
        let deployment = deployment(&package, &detector, "m.onnx", &graphs);
        let error = triton::render(&deployment, &Options::default()).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
}

/// Descriptions of every resize policy, filter and element type that DALI can do.
fn inputs() -> Vec<(&'static str, ImageInput)> {
    let base = ImageInput {
        tensor: "pixels".into(),
        width: 160,
        height: 128,
        channels: ChannelOrder::Rgb,
        resize: Resize::Stretch,
        filter: Filter::Bilinear,
        antialias: true,
        scale: 1.0 / 255.0,
        mean: [0.0; 3],
        std: [1.0; 3],
        dtype: ElementType::F32,
        mask: None,
        image_size: None,
        frames: None,
    };
    let letterbox = |centred, upscale| Resize::Letterbox { fill: 114, centred, upscale };
    let mean_std = ImageInput { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], ..base.clone() };
    let shortest = |shortest, longest, multiple_of| ImageInput {
        resize: Resize::ShortestEdge { shortest, longest, multiple_of },
        width: 160,
        height: 160,
        ..mean_std.clone()
    };
    let mask = |width, height| Some(PixelMask { tensor: "mask".into(), width, height });
    vec![
        ("stretch", base.clone()),
        ("stretch_mean_std", ImageInput { antialias: false, ..mean_std.clone() }),
        ("letterbox", ImageInput { resize: letterbox(true, true), antialias: false, ..base.clone() }),
        ("letterbox_corner", ImageInput { resize: letterbox(false, true), ..mean_std.clone() }),
        (
            "letterbox_small",
            ImageInput { resize: letterbox(true, false), mask: mask(160, 128), ..base.clone() },
        ),
        ("shortest_edge", ImageInput { mask: mask(160, 160), ..shortest(100, 150, None) }),
        ("shortest_edge_steps", ImageInput { mask: mask(64, 64), ..shortest(96, 144, Some(16)) }),
        ("shortest_edge_too_large", shortest(160, 400, None)),
        (
            "bgr_bytes",
            ImageInput { channels: ChannelOrder::Bgr, dtype: ElementType::U8, scale: 1.0, ..base.clone() },
        ),
        ("half_0_255", ImageInput { scale: 1.0, dtype: ElementType::F16, ..base.clone() }),
        ("bicubic", ImageInput { filter: Filter::Bicubic, ..base.clone() }),
        ("lanczos", ImageInput { filter: Filter::Lanczos, ..base.clone() }),
        ("nearest", ImageInput { filter: Filter::Nearest, image_size: Some("size".into()), ..base }),
    ]
}

/// A network that takes what an input describes.
fn network(input: &ImageInput) -> Graphs {
    let mut detector = variants::detector("parts");
    detector.input = input.clone();
    detector.head = variants::detector("queries").head;
    let sides = |width: u32, height: u32| vec![Dim::Fixed(height as usize), Dim::Fixed(width as usize)];
    let dtype = match input.dtype {
        ElementType::F32 => DataType::F32,
        ElementType::F16 => DataType::F16,
        ElementType::U8 => DataType::U8,
    };
    let pixels = [vec![Dim::batch(), 3.into()], sides(input.width, input.height)].concat();
    let mut inputs = vec![ValueInfo::tensor(&input.tensor, dtype, pixels)];
    inputs.extend(input.mask.as_ref().map(|mask| {
        let shape = [vec![Dim::batch()], sides(mask.width, mask.height)].concat();
        ValueInfo::tensor(&mask.tensor, DataType::I64, shape)
    }));
    inputs.extend(
        input
            .image_size
            .as_ref()
            .map(|name| ValueInfo::tensor(name, DataType::I64, vec![Dim::batch(), 2.into()])),
    );
    let outputs = vec![ValueInfo::tensor("logits", DataType::F32, vec![Dim::batch(), 9.into(), 4.into()])];
    let graph = DeliveredGraph {
        form: Form::Plain,
        path: "model/case.onnx".into(),
        detector,
        inputs,
        outputs,
        engine: None,
    };
    Graphs { max_batch: 3, made: vec![graph], refused: Vec::new() }
}

#[test]
fn what_dali_cannot_do_is_refused_with_a_reason() {
    let (_, base) = inputs().remove(0);
    for (input, reason) in [
        (ImageInput { filter: Filter::Box, ..base.clone() }, "filter"),
        (ImageInput { filter: Filter::Hamming, ..base.clone() }, "filter"),
        (ImageInput { filter: Filter::Bicubic, antialias: false, ..base.clone() }, "filter"),
        (ImageInput { tensor: "frame_size".into(), ..base.clone() }, "frame_size"),
    ] {
        let tree = tree("dense", &network(&input), &Options::default());
        assert!(tree.get("triton/dense_dali/1/dali.py").is_none());
        let readme = text(&tree, "triton/README.md");
        let line = readme.lines().find(|line| line.contains("dense_dali")).unwrap();
        assert!(line.contains("not here") && line.contains(reason), "{line}");
    }
}

/// The Python that holds DALI, tritonclient and a Triton server; see CONTRIBUTING.md.
#[expect(clippy::disallowed_methods, reason = "a test's own switch, not the program's")]
#[expect(clippy::print_stdout, reason = "for whoever reads why something was skipped")]
fn python(test: &str, imports: &str) -> Option<PathBuf> {
    let Some(python) = std::env::var_os("SIGHTLINE_TRITON_PYTHON").map(PathBuf::from) else {
        println!("skipped: {test}: `SIGHTLINE_TRITON_PYTHON` names no Python");
        return None;
    };
    let probe = Command::new(&python).args(["-c", &format!("import {imports}")]).output();
    if probe.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    println!("skipped: {test}: `{}` cannot import {imports}", python.display());
    None
}

#[derive(Debug, Deserialize)]
struct Compared {
    mean: f64,
    max: f64,
    max_png: f64,
    others: u64,
    images: usize,
    elements: u64,
}

#[test]
fn dali_makes_the_same_pixels() {
    let Some(python) = python("dali_makes_the_same_pixels", "numpy, nvidia.dali") else { return };
    let folder = tempfile::tempdir().unwrap();
    let images = images(folder.path());
    for (name, input) in inputs() {
        case(&folder.path().join(name), &input, &images);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/check_dali.py");
    let output = Command::new(python).arg(script).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let compared: BTreeMap<String, Compared> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(compared.len(), inputs().len());
    for (name, result) in &compared {
        println!("{name}: {result:?}");
    }
    for (name, result) in compared {
        assert_eq!(result.images, images.len(), "{name}");
        assert!(result.elements > 1000 && result.others == 0, "{name}: {result:?}");
        assert!(result.mean <= 1.0 && result.mean <= result.max, "{name}: {result:?}");
        // Where the decoders give the same bytes, no pixel may be misplaced. Filters that overshoot are cut to bytes between
        // the two directions by Pillow and not by DALI.
        let overshoots = ["bicubic", "lanczos"].contains(&name.as_str());
        assert!(result.max_png <= if overshoots { 16.0 } else { 4.0 }, "{name}: {result:?}");
    }
}

/// Pictures without a compression of their own, and photographs.
fn images(folder: &Path) -> Vec<(String, Image)> {
    let mut images = Vec::new();
    for (file, picture) in variants::pictures() {
        picture.save(folder.join(file)).unwrap();
        images.push(file.to_owned());
    }
    let photographs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../detect/tests/fixtures/preprocess");
    for file in ["000059.jpg", "000085.jpg", "rotated.jpg", "grey.jpg", "progressive.jpg", "rgba.png"] {
        std::fs::copy(photographs.join(file), folder.join(file)).unwrap();
        images.push(file.to_owned());
    }
    let decode = |file: String| {
        let image = Image::decode(&std::fs::read(folder.join(&file)).unwrap()).unwrap();
        (file, image)
    };
    images.into_iter().map(decode).collect()
}

/// Writes a case: the pipeline, and what it has to give for every image.
fn case(folder: &Path, input: &ImageInput, images: &[(String, Image)]) {
    std::fs::create_dir(folder).unwrap();
    let tree = tree("dense", &network(input), &Options::default());
    std::fs::write(folder.join("dali.py"), text(&tree, "triton/dense_dali/1/dali.py")).unwrap();
    let config = Message::parse(text(&tree, "triton/dense_dali/config.pbtxt")).unwrap();
    let mut outputs = Vec::new();
    for (at, output) in config.messages("output").into_iter().enumerate() {
        let shape: Vec<usize> = output.scalars("dims").iter().map(|side| side.parse().unwrap()).collect();
        let name = output.scalar("name").unwrap();
        outputs.push(serde_json::json!({"data_type": output.scalar("data_type"), "shape": shape}));
        for (file, image) in images {
            let bytes = if name == "frame_size" {
                [image.width(), image.height()]
                    .iter()
                    .flat_map(|side| i64::from(*side).to_le_bytes())
                    .collect()
            } else {
                let made = preprocess(input, &[image]).unwrap().inputs;
                made.iter().find(|(tensor, _)| tensor == name).unwrap().1.bytes().to_vec()
            };
            std::fs::write(folder.join(format!("{file}.{at}.raw")), bytes).unwrap();
        }
    }
    // How many levels of 0–255 a difference of 1 in each plane is.
    let levels = input.std.map(|std| std / input.scale);
    let names: Vec<&str> = images.iter().map(|(file, _)| file.as_str()).collect();
    let about = serde_json::json!({"outputs": outputs, "images": names, "levels": levels});
    std::fs::write(folder.join("case.json"), about.to_string()).unwrap();
}

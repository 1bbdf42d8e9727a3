//! What `verify` is for: each fault that silently makes a wrong detector is put into a package and has to be found.

use std::fs;
use std::path::{Path, PathBuf};

use pipeline::deploy::{Manifest, Precision};
use pipeline::detect::{BoxFormat, ChannelOrder, Detector, Head, Resize};
use pipeline::graph::{Model, Node, Tensor, onnx};
use serde_json::Value;

use crate::program::{Ran, example, sightline};

/// A package of the trained example with INT8 beside fp32.
struct Package {
    home: tempfile::TempDir,
}

impl Package {
    fn import() -> Self {
        let home = tempfile::tempdir().unwrap();
        let images = example().join("val/images");
        let mut import = sightline(home.path());
        import.arg("import").arg(example()).args([
            "--precision",
            "fp32,int8",
            "--count",
            "16",
            "--seconds",
            "1",
            "--max-batch",
            "2",
        ]);
        import.arg("--calibrate").arg(&images).arg("--images").arg(&images);
        let ran = Ran::of(&mut import);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        Self { home }
    }

    fn folder(&self) -> PathBuf {
        fs::read_dir(self.home.path().join("models"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.join("manifest.json").is_file())
            .unwrap()
    }

    fn model(&self, precision: Precision) -> PathBuf {
        let manifest = fs::read_to_string(self.folder().join("manifest.json")).unwrap();
        let manifest = Manifest::from_json(&manifest).unwrap();
        let artefact = manifest.artefacts.iter().find(|artefact| artefact.precision == Some(precision));
        self.folder().join(&artefact.unwrap().path)
    }

    /// The checks that fail, but for the digest of the file that was changed on purpose.
    fn failed(&self) -> (Option<i32>, Vec<String>) {
        let mut verify = sightline(self.home.path());
        verify.arg("verify").arg(self.folder()).arg("--json");
        let ran = Ran::of(verify.arg("--images").arg(example().join("val/images")));
        let certificate: Value = serde_json::from_str(&ran.stdout).unwrap();
        let checks = certificate["checks"].as_array().unwrap();
        let failed = checks.iter().filter(|check| check["verdict"] == "fail");
        let named = failed.map(|check| format!("{} of {}", text(&check["name"]), text(&check["subject"])));
        (ran.code, named.filter(|name| !name.starts_with("files that differ")).collect())
    }

    /// Verifies with a fault in a model's file, and puts the file back.
    fn with_fault(&self, precision: Precision, fault: impl FnOnce(&mut Model)) -> Vec<String> {
        let path = self.model(precision);
        let sound = fs::read(&path).unwrap();
        let mut model =
            onnx::read(sound.clone().into(), &|_| unreachable!("it has no external data")).unwrap();
        fault(&mut model);
        let mut bytes = Vec::new();
        onnx::write(&model, &mut bytes).unwrap();
        replace(&path, &bytes);
        let (code, failed) = self.failed();
        replace(&path, &sound);
        assert_eq!(code, Some(40));
        failed
    }
}

/// Packages link their files to the store: a new file takes the name, the store's stays as it is.
fn replace(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn redescribed(model: &mut Model, change: impl FnOnce(&mut Detector)) {
    let mut detector = Detector::from_json(&model.metadata[Detector::METADATA_KEY]).unwrap();
    change(&mut detector);
    model.metadata.insert(Detector::METADATA_KEY.into(), detector.to_json());
}

/// Each image's answer comes out in the row of another.
fn mix_up_rows(model: &mut Model) {
    let output = model.graph.outputs[0].name.clone();
    let inner = format!("{output}_rows");
    for node in &mut model.graph.nodes {
        let names = node.outputs.iter_mut().chain(&mut node.inputs);
        names.filter(|name| **name == output).for_each(|name| name.clone_from(&inner));
    }
    let first = |name: &str, value| (name.to_owned(), Tensor::from_i64([1], vec![value]).unwrap());
    model.graph.initializers.extend([
        first("from", -1),
        first("to", i64::MIN + 1),
        first("axis", 0),
        first("step", -1),
    ]);
    model.graph.nodes.push(Node {
        name: "mix_up".into(),
        op_type: "Slice".into(),
        inputs: vec![inner, "from".into(), "to".into(), "axis".into(), "step".into()],
        outputs: vec![output],
        ..Node::default()
    });
}

/// One activation is rounded eight times as coarsely as its range needs.
fn spoil_a_scale(model: &mut Model) {
    let quantized = model.graph.nodes.iter().filter(|node| node.op_type == "QuantizeLinear");
    let scales: Vec<String> = quantized.map(|node| node.inputs[1].clone()).collect();
    let scale = &scales[scales.len() / 2];
    let value = model.graph.initializers[scale].to_f32().unwrap()[0];
    model.graph.initializers.insert(scale.clone(), Tensor::from_f32([], vec![value * 32.0]).unwrap());
}

/// What goes wrong.
type Fault = fn(&mut Model);

#[test]
fn faults_that_make_a_wrong_detector_are_found() {
    let package = Package::import();
    assert_eq!(package.failed(), (Some(0), Vec::new()), "the sound package passes");
    let descriptions: [(&str, Fault); 4] = [
        ("a wrong mean", |model| redescribed(model, |d| d.input.mean = [0.485, 0.456, 0.406])),
        ("swapped channels", |model| {
            redescribed(model, |d| {
                d.input.channels =
                    if d.input.channels == ChannelOrder::Rgb { ChannelOrder::Bgr } else { ChannelOrder::Rgb };
            });
        }),
        ("a transposed box format", |model| {
            redescribed(model, |d| {
                let Head::Queries { format, .. } = &mut d.head else { unreachable!("it has queries") };
                *format = BoxFormat::XyxyNormalized;
            });
        }),
        ("letterbox instead of stretch", |model| {
            redescribed(model, |d| {
                assert_eq!(d.input.resize, Resize::Stretch);
                d.input.resize = Resize::Letterbox { fill: 114, centred: true, upscale: true };
            });
        }),
    ];
    for (name, fault) in descriptions {
        for precision in [Precision::Fp32, Precision::Int8] {
            let failed = package.with_fault(precision, fault);
            let is_told = failed.iter().any(|check| check.starts_with("descriptions that differ"));
            let of_detections = failed.iter().filter(|check| check.starts_with("detections")).count();
            println!("{name} in {precision}: {of_detections} checks of detections fail");
            // Eight bits may differ by more than what a wrong mean does to a robust network: there the description tells.
            assert!(is_told && (of_detections > 0 || precision == Precision::Int8), "{name}: {failed:?}");
        }
    }
    for precision in [Precision::Fp32, Precision::Int8] {
        let failed = package.with_fault(precision, mix_up_rows);
        let is_told = failed.iter().any(|check| check.contains("rows permuted"));
        let alone = failed.iter().filter(|check| check.ends_with("batch 1")).count();
        assert!(is_told && alone == 0, "rows mixed up in {precision}: {failed:?}");
    }
    let failed = package.with_fault(Precision::Int8, spoil_a_scale);
    assert!(failed.iter().any(|check| check.ends_with("batch 1")), "one bad scale: {failed:?}");
    let failed = package.with_fault(Precision::Int8, |model| {
        *model = onnx::read(fs::read(package.model(Precision::Fp32)).unwrap().into(), &|_| unreachable!())
            .unwrap();
    });
    assert!(
        failed.iter().any(|check| check.starts_with("share of the FLOPs")),
        "fp32 under int8's name: {failed:?}"
    );
}

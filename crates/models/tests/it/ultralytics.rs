//! What Ultralytics saved: described by the file alone, refused by name, and never a panic (fixtures:
//! `tests/fixtures/make_yolo.py`).

use std::io::{Cursor, Read, Write};

use detect::{BoxFormat, Head, Labels, Resize};
use models::{
    Error, ErrorKind, ExportOptions, Exported, Files, ImportOptions, MemoryFiles, export, import_onnx,
};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::sources::fixture;

/// The program of a `.pt` file.
fn program(file: &[u8]) -> Vec<u8> {
    let mut archive = ZipArchive::new(Cursor::new(file)).unwrap();
    let mut program = Vec::new();
    archive.by_name("model/data.pkl").unwrap().read_to_end(&mut program).unwrap();
    program
}

/// The source of a `.pt` file with another program.
fn with_program(file: &[u8], program: &[u8]) -> MemoryFiles {
    let mut archive = ZipArchive::new(Cursor::new(file)).unwrap();
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).unwrap();
        writer.start_file(entry.name(), stored).unwrap();
        if entry.name() == "model/data.pkl" {
            writer.write_all(program).unwrap();
        } else {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            writer.write_all(&content).unwrap();
        }
    }
    MemoryFiles::new().with("model.pt", writer.finish().unwrap().into_inner())
}

fn replaced(program: &[u8], from: &str, to: &str) -> Vec<u8> {
    let at = program.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    [&program[..at], to.as_bytes(), &program[at + from.len()..]].concat()
}

fn file(name: &str) -> Vec<u8> {
    fixture(name).read("model.pt").unwrap().to_vec()
}

fn exported(name: &str) -> Exported {
    export(&fixture(name), &ExportOptions::default()).unwrap()
}

#[test]
fn the_file_says_classes_size_and_head() {
    let dense = exported("ultralytics-v8");
    let detector = &dense.detector;
    assert_eq!(detector.architecture, "yolov8");
    assert_eq!(
        (detector.input.tensor.as_str(), detector.input.height, detector.input.width),
        ("images", 64, 96)
    );
    assert_eq!(detector.input.resize, Resize::Letterbox { fill: 114, centred: true, upscale: true });
    assert_eq!(detector.labels.to_lines(), "thing 0\nthing 1\nthing 2\nthing 3\nthing 4\n");
    assert!(matches!(&detector.head, Head::Dense { format: BoxFormat::CxcywhPixels, iou: Some(_), .. }));
    assert!(dense.warnings.is_empty(), "{:?}", dense.warnings);
    assert!(dense.ignored.iter().all(|name| name.ends_with("num_batches_tracked")), "{:?}", dense.ignored);

    let picked = exported("ultralytics-v10");
    assert!(matches!(&picked.detector.head, Head::EndToEnd { format: BoxFormat::XyxyPixels, .. }));
    assert!(picked.ignored.iter().any(|name| name.starts_with("model.23.cv2.")));

    let stretched = exported("ultralytics-rtdetr").detector;
    assert_eq!((stretched.architecture.as_str(), stretched.input.resize), ("custom", Resize::Stretch));
    assert!(matches!(&stretched.head, Head::EndToEnd { format: BoxFormat::CxcywhNormalized, .. }));
}

#[test]
fn the_metadata_is_that_of_the_librarys_own_exports() {
    let Exported { mut model, detector, .. } = exported("ultralytics-v5");
    assert_eq!(model.metadata["names"], r#"{0: "it's", 1: 'a "b"', 2: 'c'}"#);
    assert_eq!(model.metadata["license"], "AGPL-3.0 (https://ultralytics.com/license)");
    // Read as a foreign graph it is the same detector.
    model.metadata.remove(detect::Detector::METADATA_KEY);
    let again = import_onnx(&model, &MemoryFiles::new(), &ImportOptions::default()).unwrap();
    assert_eq!((again.input, again.head, again.labels), (detector.input, detector.head, detector.labels));
}

#[test]
fn a_configuration_that_names_no_family_does_not_stand_in_the_way() {
    let beside = |config: &'static [u8]| {
        MemoryFiles::new().with("model.pt", file("ultralytics-v3-tiny")).with("config.json", config)
    };
    for config in [b"{}".as_slice(), br#"{"model_type": "yolov3"}"#] {
        let exported = export(&beside(config), &ExportOptions::default()).unwrap();
        assert_eq!(exported.detector.architecture, "yolov3-tiny");
    }
    let classifier = beside(br#"{"architectures": ["ViTForImageClassification"]}"#);
    let error = export(&classifier, &ExportOptions::default()).unwrap_err();
    assert!(matches!(error, Error::NotADetector { .. }), "{error}");
}

#[test]
fn options_change_what_they_may_and_are_refused_where_they_do_not_fit() {
    let source = fixture("ultralytics-v11");
    let size = |height, width| ExportOptions { size: Some((height, width)), ..ExportOptions::default() };
    let larger = export(&source, &size(96, 128)).unwrap();
    let shape = larger.model.graph.outputs[0].shape.clone().unwrap();
    assert_eq!(shape[2].fixed(), Some((12 * 16 * 21) / 16));
    assert!(matches!(export(&source, &size(100, 64)), Err(Error::Refused { option: "--size", .. })));
    let named = Labels::from_lines("a\nb\nc\nd\ne\nf").unwrap();
    let named = ExportOptions { labels: Some(named), ..ExportOptions::default() };
    assert!(matches!(export(&source, &named), Err(Error::BadLabels { .. })));
    let prompted = ExportOptions { prompt: Some(models::Prompt::default()), ..ExportOptions::default() };
    assert!(matches!(export(&source, &prompted), Err(Error::Refused { option: "--prompt", .. })));
}

#[test]
fn what_is_no_detector_or_not_known_is_refused_by_name() {
    let whole = file("ultralytics-v8");
    let program = program(&whole);
    let network = "ultralytics.nn.tasks\nDetectionModel\n";
    let cases = [
        (network, "ultralytics.nn.tasks\nSegmentationModel\n", "SegmentationModel", ErrorKind::NotADetector),
        (network, "ultralytics.nn.tasks\nWorldModel\n", "WorldModel", ErrorKind::NotADetector),
        (network, "models.yolo\nDetectionModel\n", "models.yolo.DetectionModel", ErrorKind::NotADetector),
        ("modules.head\nDetect\n", "modules.head\nPose\n", "Pose", ErrorKind::NotADetector),
        ("modules.head\nDetect\n", "modules.head\nMyDetect\n", "MyDetect", ErrorKind::NotADetector),
        ("modules.block\nSPPF\n", "modules.block\nCoordAtt\n", "`model.9`", ErrorKind::ExportFailed),
    ];
    for (from, to, blamed, kind) in cases {
        let error = export(&with_program(&whole, &replaced(&program, from, to)), &ExportOptions::default())
            .unwrap_err();
        assert!(error.to_string().contains(blamed), "{error}");
        assert_eq!(error.kind(), kind, "{error}");
    }
    // The class says nothing about what a program of the user's own would do.
    let foreign = replaced(&program, "ultralytics.nn.modules.block\nSPPF\n", "mine\nSPPF\n");
    let error = export(&with_program(&whole, &foreign), &ExportOptions::default()).unwrap_err();
    assert!(matches!(error, Error::ForeignCode { .. }), "{error}");
}

#[test]
fn numbers_that_no_network_has_are_errors_and_nothing_worse() {
    for name in ["ultralytics-v26", "ultralytics-v12", "ultralytics-rtdetr"] {
        let whole = file(name);
        let program = program(&whole);
        let small: Vec<usize> =
            (0..program.len() - 2).filter(|at| program[*at] == b'K' && program[at + 1] < 128).collect();
        let mut failed = 0;
        for at in small.iter().step_by(small.len() / 60) {
            for absurd in [b"K\x00".as_slice(), b"J\xff\xff\xff\x7f", b"J\xff\xff\xff\xff", b"\x88", b"N"] {
                let changed = [&program[..*at], absurd, &program[at + 2..]].concat();
                let source = with_program(&whole, &changed);
                failed += usize::from(export(&source, &ExportOptions::default()).is_err());
            }
        }
        assert!(failed > 30, "{name}: {failed}");
    }
}

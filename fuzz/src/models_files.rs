//! Readers of `models`: checkpoints, configurations, what describes a foreign graph.

use bytes::Bytes;
use graph::{Builder, DataType, Dim, Model};
use models::{ExportOptions, ImportOptions, MemoryFiles, checkpoint_facts, export, import_onnx};

/// A safetensors file.
pub fn safetensors(data: &[u8]) {
    let _ = checkpoint_facts(&one("model.safetensors", data), "model.safetensors");
}

/// A pickled checkpoint: a zip archive, the older container or a bare program; alone and as a shard.
pub fn pickle(data: &[u8]) {
    let files = one("model.pt", data);
    let _ = checkpoint_facts(&files, "model.pt");
    let _ = models::Checkpoint::read(&files);
    let index = br#"{"weight_map": {"whole": "a.bin", "matrix": "a.bin"}}"#;
    let shard = one("a.bin", data).with("pytorch_model.bin.index.json", Bytes::from_static(index));
    let _ = models::Checkpoint::read(&shard);
}

/// A network that Ultralytics saved.
pub fn pickled_network(data: &[u8]) {
    let _ = export(&one("model.pt", data), &ExportOptions::default());
}

/// The index of a sharded checkpoint; there is one shard.
pub fn safetensors_index(data: &[u8]) {
    let files = one("model.safetensors.index.json", data)
        .with("a.safetensors", Bytes::from_static(b"\x02\0\0\0\0\0\0\0{}"));
    let _ = models::Checkpoint::read(&files);
}

/// `config.json` beside no weights: everything up to the first tensor.
pub fn config(data: &[u8]) {
    let files = one("config.json", data)
        .with("preprocessor_config.json", Bytes::from_static(br#"{"size": {"height": 64, "width": 64}}"#))
        .with("model.safetensors", Bytes::from_static(b"\x02\0\0\0\0\0\0\0{}"));
    let _ = export(&files, &ExportOptions::default());
}

/// `preprocessor_config.json` beside a sound configuration.
pub fn preprocessor_config(data: &[u8]) {
    let config =
        br#"{"architectures": ["DetrForObjectDetection"], "model_type": "detr", "id2label": {"0": "a"}}"#;
    let files = one("preprocessor_config.json", data).with("config.json", Bytes::from_static(config));
    let _ = import_onnx(&queries(), &files, &ImportOptions::default());
}

/// The metadata of an Ultralytics export: Python literals.
pub fn ultralytics_metadata(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let mut model = rows();
    for key in ["names", "imgsz", "stride", "task"] {
        model.metadata.insert(key.into(), text.clone());
    }
    let _ = import_onnx(&model, &MemoryFiles::new(), &ImportOptions::default());
    model.metadata.insert("task".into(), "detect".into());
    model.metadata.insert("stride".into(), "32".into());
    model.metadata.insert("imgsz".into(), "[64, 64]".into());
    let _ = import_onnx(&model, &MemoryFiles::new(), &ImportOptions::default());
}

/// `nvinfer_config.txt` and `labels.txt` of an NGC archive.
pub fn nvinfer_config(data: &[u8]) {
    let files = one("nvinfer_config.txt", data).with("labels.txt", Bytes::copy_from_slice(data));
    let _ = import_onnx(&queries(), &files, &ImportOptions::default());
}

fn one(name: &str, data: &[u8]) -> MemoryFiles {
    MemoryFiles::new().with(name, Bytes::copy_from_slice(data))
}

/// A graph with the outputs of a DETR.
fn queries() -> Model {
    built(&[("logits", [5, 2]), ("pred_boxes", [5, 4])])
}

/// A graph with the output of an Ultralytics detector of two classes.
fn rows() -> Model {
    built(&[("output0", [6, 84])])
}

fn built(outputs: &[(&str, [usize; 2])]) -> Model {
    let mut b = Builder::new("seed", 17);
    let x = b.input("images", DataType::F32, vec![Dim::batch(), 3.into(), 64.into(), 64.into()]);
    let flat = b.flatten_from(&x, 1);
    for (name, [rows, columns]) in outputs {
        let some = b.slice(&flat, 1, 0, rows * columns);
        let shaped = b.reshape(&some, &[0, *rows as i64, *columns as i64]);
        b.output(name, &shaped);
    }
    b.finish("seed", "1").unwrap_or_default()
}

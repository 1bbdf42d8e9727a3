//! A few seconds of fuzzing with every test run.
//!
//! Besides panics it sees work without end (the time limit) and allocations far beyond the input's size (the peak of the
//! process's memory).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use fuzz::mutate::run;
use graph::{Builder, DataType, Dim, onnx};

/// Peak memory that no target comes near while it reads inputs of a few kilobytes.
const MOST_MEMORY_KB: u64 = 1 << 20;

fn timed(target: fn(&[u8]), seeds: &[Vec<u8>], rounds: usize) {
    let start = Instant::now();
    run(target, seeds, rounds);
    assert!(start.elapsed() < Duration::from_mins(1), "{:?} for {rounds} inputs", start.elapsed());
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
    assert!(peak.unwrap_or(0) < MOST_MEMORY_KB, "{peak:?} kB at the peak");
}

fn graph_fixtures() -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../crates/graph/tests/fixtures");
    let names = ["forms", "external", "control", "custom", "old_ir", "quantized"];
    names.map(|name| std::fs::read(folder.join(format!("{name}.onnx"))).unwrap()).into()
}

fn built() -> Vec<u8> {
    let mut b = Builder::new("seed", 17);
    let x = b.input("x", DataType::F32, vec![Dim::batch(), 6.into(), 8.into()]);
    let heads = b.reshape(&x, &[0, 6, 2, 4]);
    let rows = b.transpose(&heads, &[0, 2, 1, 3]);
    let columns = b.transpose(&heads, &[0, 2, 3, 1]);
    let scores = b.matmul(&rows, &columns);
    let weights = b.softmax(&scores, -1);
    let (_, best) = b.top_k(&x, 2, 1);
    let picked = b.gather_elements(&x, &best, 1);
    b.output("weights", &weights);
    b.output("picked", &picked);
    let mut bytes = Vec::new();
    onnx::write(&b.finish("seed", "1").unwrap(), &mut bytes).unwrap();
    bytes
}

#[test]
fn onnx_read() {
    let mut seeds = graph_fixtures();
    seeds.push(built());
    timed(fuzz::onnx_read, &seeds, 20_000);
}

#[test]
fn passes() {
    let mut seeds = graph_fixtures();
    seeds.push(built());
    timed(fuzz::passes, &seeds, 4_000);
}

#[test]
fn plan() {
    let mut plain = b"ftrt".to_vec();
    plain.extend([0; 20]);
    plain.extend([10, 3, 0, 26, 1, 2, 3]);
    let json = br#"{"names": {"0": "person"}, "imgsz": [640, 640]}"#;
    let prefixed = [&(json.len() as i32).to_le_bytes()[..], json, &plain].concat();
    let mut rtx = [&b"vtrt"[..], &[0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0], &64_u64.to_le_bytes()].concat();
    rtx.extend([1, 7, 1, 116]);
    rtx.extend(b"vtrt\x3f");
    rtx.resize(64, 0);
    timed(fuzz::plan, &[plain, prefixed, rtx], 50_000);
}

#[test]
fn what_trtexec_writes() {
    let folder = "crates/runtime/tests/fixtures/trtexec";
    let seed = |name: &str| fixture(&format!("{folder}/{name}"));
    timed(fuzz::engine_layers, &[seed("layers_fp16.json"), seed("layers_fp32.json")], 10_000);
    timed(fuzz::trtexec_log, &[seed("timing_10.log"), seed("build_8.log"), seed("foreign_node.log")], 20_000);
    timed(fuzz::etlt, &[b"\x07\0\0\0input_1secret".to_vec(), b"\0\0\0\0secret".to_vec()], 20_000);
    timed(fuzz::trtexec_outputs, &[seed("outputs.json")], 50_000);
}

#[test]
fn calibration_cache() {
    let plain =
        b"TRT-8602-EntropyCalibration2\nimages: 3c010a14\n(Unnamed Layer* 4) [x]_output: 3c010204\n".to_vec();
    timed(
        fuzz::calibration_cache,
        &[plain, b"TRT-100900-MinMaxCalibration\r\nb: 00000000\r\n".to_vec()],
        50_000,
    );
}

fn fixture(path: &str) -> Vec<u8> {
    std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

#[test]
fn safetensors() {
    let shard = fixture("crates/models/tests/fixtures/rt_detr_v2/model-00002-of-00002.safetensors");
    // The header is what there is to break: the tensors behind it only make rounds slow.
    let header = 8 + u64::from_le_bytes(*shard.first_chunk().unwrap()) as usize;
    let small = br#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"__metadata__":{"format":"pt"}}"#;
    let small = [&(small.len() as u64).to_le_bytes()[..], small, &[0; 8]].concat();
    timed(fuzz::safetensors, &[small, shard[..header].to_vec()], 20_000);
}

#[test]
fn pickle() {
    let names = [
        "legacy.bin",
        "module.pt",
        "state.pt",
        "forms.pt",
        "forms-legacy.pt",
        "forms-protocol5.pt",
        "training.pth",
        "plain-2.pkl",
        "plain-4.pkl",
        "plain-5.pkl",
    ];
    let seeds = names.map(|name| fixture(&format!("crates/models/tests/fixtures/pickled/{name}")));
    timed(fuzz::pickle, &seeds, 20_000);
}

#[test]
fn pickled_networks() {
    let names = ["ultralytics-v3-tiny", "ultralytics-v26", "ultralytics-rtdetr-resnet"];
    let seeds = names.map(|name| fixture(&format!("crates/models/tests/fixtures/{name}/model.pt")));
    timed(fuzz::pickled_network, &seeds, 2_000);
}

#[test]
fn configurations() {
    let folder = "crates/models/tests/fixtures/rt_detr";
    timed(fuzz::config, &[fixture(&format!("{folder}/config.json"))], 4_000);
    timed(fuzz::preprocessor_config, &[fixture(&format!("{folder}/preprocessor_config.json"))], 10_000);
    let index = br#"{"weight_map": {"a": "a.safetensors", "b": "b.safetensors"}}"#;
    timed(fuzz::safetensors_index, &[index.to_vec()], 20_000);
}

#[test]
fn descriptions_of_foreign_graphs() {
    let names = br#"{0: 'person', 1: "it's", 2: 'a\\'b\\u00e9'}"#;
    timed(fuzz::ultralytics_metadata, &[names.to_vec(), b"[64, 64]".to_vec()], 20_000);
    let nvinfer = b"net-scale-factor=0.0039\noffsets=0;0;0\ninfer-dims=3;64;64\nmodel-color-format=0\n";
    timed(fuzz::nvinfer_config, &[nvinfer.to_vec(), b"car;bicycle;person".to_vec()], 20_000);
}

#[test]
fn around_the_network() {
    let json = br#"{"schema":1,"architecture":"x","labels":{"0":"a"},"input":{"tensor":"images","width":64,"height":64,
        "channels":"rgb","resize":{"policy":"stretch"},"filter":"bilinear","antialias":true,"scale":0.0039,
        "mean":[0.0,0.0,0.0],"std":[1.0,1.0,1.0],"dtype":"float32"},
        "head":{"kind":"end_to_end","output":"output0","format":"xyxy_pixels"}}"#;
    assert!(detect::Detector::from_json(std::str::from_utf8(json).unwrap()).is_ok());
    timed(fuzz::detector, &[json.to_vec()], 20_000);
    let coco =
        br#"{"images":[{"id":1,"file_name":"a.jpg","width":4,"height":4}],"categories":[{"id":1,"name":"a"}],
        "annotations":[{"id":1,"image_id":1,"category_id":1,"bbox":[0,0,2,2],"area":4,"iscrowd":0}]}"#;
    timed(fuzz::annotations, &[coco.to_vec()], 20_000);
    timed(fuzz::labels, &[b"person\nN/A\ncar".to_vec()], 10_000);
    let sources: [&[u8]; 4] = [
        b"PekingU/rtdetr_r50vd@main",
        b"https://huggingface.co/a/b/resolve/refs%2Fpr%2F1/onnx/model.onnx",
        b"https://catalog.ngc.nvidia.com/orgs/nvidia/teams/tao/models/peoplenet/files?version=1",
        b"nvidia/tao/peoplenet:v1",
    ];
    timed(fuzz::source, &sources.map(<[u8]>::to_vec), 20_000);
    timed(fuzz::image, &[fixture("examples/shapes-rtdetr/val/images/000012.jpg")], 200);
}

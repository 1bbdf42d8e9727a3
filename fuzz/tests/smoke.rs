//! A few seconds of fuzzing with every test run.
//!
//! Besides panics it sees work without end (the time limit) and allocations far beyond the input's size (the peak of the
//! process's memory).

use std::path::PathBuf;
use std::time::{Duration, Instant};

use fuzz::mutate::run;
use graph::{Builder, DataType, Dim, onnx};

/// Peak memory that no target comes near while it reads inputs of a few kilobytes.
const MOST_MEMORY_KB: u64 = 1 << 20;

fn timed(target: fn(&[u8]), seeds: &[Vec<u8>], rounds: usize) {
    let start = Instant::now();
    run(target, seeds, rounds);
    assert!(start.elapsed() < Duration::from_secs(60), "{:?} for {rounds} inputs", start.elapsed());
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
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
fn plan() {
    let mut plain = b"ftrt".to_vec();
    plain.extend([0; 20]);
    plain.extend([10, 3, 0, 26, 1, 2, 3]);
    let json = br#"{"names": {"0": "person"}, "imgsz": [640, 640]}"#;
    let prefixed = [&(json.len() as i32).to_le_bytes()[..], json, &plain].concat();
    timed(fuzz::plan, &[plain, prefixed], 50_000);
}

#[test]
fn calibration_cache() {
    let plain = b"TRT-8602-EntropyCalibration2\nimages: 3c010a14\n(Unnamed Layer* 4) [x]_output: 3c010204\n".to_vec();
    timed(fuzz::calibration_cache, &[plain, b"TRT-100900-MinMaxCalibration\r\nb: 00000000\r\n".to_vec()], 50_000);
}

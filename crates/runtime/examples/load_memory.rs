//! What loading a graph costs: `cargo run --release -p runtime --example load_memory -- MODEL.onnx file|bytes [RUNS]`.
//!
//! One way a process, because the peak of a process never goes down. Inputs are zeros, symbols are 1.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use graph::{DataType, Tensor};
use runtime::{LoadOptions, OnnxSource, Sampling, Session, backend};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (path, way, runs) = match &arguments[..] {
        [path, way] => (path, way, 0),
        [path, way, runs] => (path, way, runs.parse()?),
        _ => return Err("usage: load_memory MODEL.onnx file|bytes [RUNS]".into()),
    };
    let size = std::fs::metadata(path)?.len() as f64 / 1e6;
    let start = Instant::now();
    let source = match way.as_str() {
        "file" => OnnxSource::File(Path::new(path)),
        "bytes" => OnnxSource::Bytes(std::fs::read(path)?),
        _ => return Err(format!("`{way}` is neither `file` nor `bytes`").into()),
    };
    let mut session = backend("embedded")?.load(source, &LoadOptions::default())?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    print(&format!(
        "{way}: {size:.0} MB loaded in {milliseconds:.0} ms, peak {:.0} MB, after loading {:.0} MB",
        status("VmHWM:")?,
        status("RssAnon:")?
    ));
    if runs > 0 {
        let latency = time(session.as_mut(), runs)?;
        print(&format!("{latency:?}, peak {:.0} MB", status("VmHWM:")?));
    }
    Ok(())
}

fn time(session: &mut dyn Session, runs: usize) -> Result<runtime::Latency, Box<dyn Error>> {
    let inputs = session.inputs().to_vec();
    let zeros = inputs
        .iter()
        .map(|info| {
            let dims = info.shape.as_deref().unwrap_or_default();
            let shape: Vec<usize> = dims.iter().map(|dim| dim.fixed().unwrap_or(1)).collect();
            let dtype = info.dtype.unwrap_or(DataType::F32);
            let bytes = dtype.bytes_for(shape.iter().product()).unwrap_or(0);
            Tensor::new(dtype, shape, vec![0; bytes].into())
        })
        .collect::<Result<Vec<_>, _>>()?;
    let given: Vec<(&str, &Tensor)> = inputs.iter().map(|info| info.name.as_str()).zip(&zeros).collect();
    let threads = session.threads();
    let sampling = Sampling { warm_up: 2, count: runs, at_most: None };
    Ok(runtime::measure(sampling, 1, threads, || session.run(&given).map(drop))?)
}

/// A line of `/proc/self/status` in megabytes.
fn status(key: &str) -> Result<f64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)).ok_or("no such line")?;
    let kibibytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes * 1024.0 / 1e6)
}

#[expect(clippy::print_stdout, reason = "the answer of this program")]
fn print(line: &str) {
    println!("{line}");
}

//! Times and peak memory of writing, reading and describing a large model; one JSON line a run.
//!
//! Each command is a process of its own, so that its peak memory (`VmHWM`, mapped pages included) is its own:
//!
//!     bench_onnx write CHECKPOINT FILE   # 43 M parameters, every weight transposed on the way; makes CHECKPOINT if need be
//!     bench_onnx inspect FILE            # structure, check, facts
//!     bench_onnx read FILE               # the whole model, every weight byte touched
//!     bench_onnx facts FILE              # the facts themselves
//!     bench_onnx copy FILE COPY          # read with external data, checked, written

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use graph::{Builder, DataType, Dim, Facts, Tensor, onnx};

const LAYERS: usize = 41;
const WIDTH: usize = 1024;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let start = Instant::now();
    let result = match arguments.as_slice() {
        ["write", checkpoint, file] => {
            make_checkpoint(checkpoint)?;
            let start = Instant::now();
            let bytes = write(checkpoint, file)?;
            serde_json::json!({"command": "write", "bytes": bytes, "seconds": start.elapsed().as_secs_f64()})
        }
        ["inspect", file] => {
            let model = onnx::read_structure(mapped(file)?)?;
            model.check()?;
            let facts = Facts::of(&model);
            let seconds = start.elapsed().as_secs_f64();
            serde_json::json!({"command": "inspect", "parameters": facts.parameters, "flops": facts.flops,
                "nodes": facts.nodes, "seconds": seconds})
        }
        ["read", file] => {
            let model = onnx::read(mapped(file)?, &|location| Err(format!("`{location}` is outside")))?;
            let sum: u64 = model.graph.initializers.values().map(|tensor| sum(&tensor.bytes())).sum();
            serde_json::json!({"command": "read", "sum": sum, "seconds": start.elapsed().as_secs_f64()})
        }
        ["copy", file, copy] => {
            let folder = Path::new(file).parent().unwrap_or(Path::new(""));
            let external = |location: &str| {
                let path = folder.join(location);
                mapped(&path.to_string_lossy()).map_err(|error| error.to_string())
            };
            let model = onnx::read(mapped(file)?, &external)?;
            model.check()?;
            let bytes = onnx::write(&model, &mut File::create(copy)?)?;
            serde_json::json!({"command": "copy", "bytes": bytes, "seconds": start.elapsed().as_secs_f64()})
        }
        ["facts", file] => serde_json::to_value(Facts::of(&onnx::read_structure(mapped(file)?)?))?,
        _ => {
            return Err(
                "usage: bench_onnx write CHECKPOINT FILE | inspect FILE | read FILE | facts FILE | copy FILE COPY".into()
            );
        }
    };
    let mut result = result;
    result["peak_kb"] = peak_kb().into();
    writeln!(std::io::stdout(), "{result}")?;
    Ok(())
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte)).sum()
}

/// The peak of this process's resident memory.
fn peak_kb() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok())
}

#[expect(unsafe_code, reason = "a memory map; the benchmark's own file does not change while it runs")]
fn mapped(file: &str) -> Result<Bytes, Failure> {
    // SAFETY: nobody writes to the file of a benchmark while it runs.
    let map = unsafe { memmap2::Mmap::map(&File::open(file)?)? };
    Ok(Bytes::from_owner(map))
}

fn make_checkpoint(path: &str) -> Result<(), Failure> {
    if Path::new(path).exists() {
        return Ok(());
    }
    let mut out = BufWriter::new(File::create(path)?);
    for at in 0..LAYERS * WIDTH * WIDTH {
        out.write_all(&((at % 1999) as f32 / 50_000.0 - 0.02).to_le_bytes())?;
    }
    Ok(out.flush()?)
}

/// A stack of linear layers whose weights lie transposed in the checkpoint, as PyTorch keeps them.
fn write(checkpoint: &str, file: &str) -> Result<u64, Failure> {
    let checkpoint = mapped(checkpoint)?;
    let mut b = Builder::new("bench", 17);
    let mut x = b.input("x", DataType::F32, vec![Dim::batch(), 300.into(), WIDTH.into()]);
    for layer in 0..LAYERS {
        let size = WIDTH * WIDTH * 4;
        let source = checkpoint.slice(layer * size..(layer + 1) * size);
        let tensor = Tensor::deferred(DataType::F32, [WIDTH, WIDTH], move || transposed(&source));
        let weight = b.weight(&format!("layers.{layer}.weight"), tensor);
        let product = b.matmul(&x, &weight);
        x = b.gelu(&product);
    }
    b.output("y", &x);
    let model = b.finish("sightline", "bench")?;
    let mut out = File::create(file)?;
    Ok(onnx::write(&model, &mut out)?)
}

fn transposed(bytes: &[u8]) -> Bytes {
    let mut out = vec![0; bytes.len()];
    let (rows, _) = bytes.as_chunks::<4>();
    let (columns, _) = out.as_chunks_mut::<4>();
    for block in (0..WIDTH).step_by(16) {
        for row in 0..WIDTH {
            for column in block..block + 16 {
                columns[column * WIDTH + row] = rows[row * WIDTH + column];
            }
        }
    }
    out.into()
}

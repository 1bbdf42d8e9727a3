//! Exports a folder's checkpoint to an ONNX file and prints how long it took and how much memory it needed.
//!
//!     cargo run --release -p models --example export -- DIR OUT.onnx [--exact] [--opset N] [--prompt TEXT]… [--task TEXT]
//!
//! The memory is the peak of the whole process (`VmHWM`), the checkpoint that was read into it included.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use models::{Error, ExportOptions, Files, Prompt, export};

struct Folder(PathBuf);

impl Files for Folder {
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    fn read(&self, name: &str) -> Result<Bytes, Error> {
        match std::fs::read(self.0.join(name)) {
            Ok(bytes) => Ok(bytes.into()),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::MissingFile { file: name.to_owned() })
            }
            Err(cause) => Err(Error::Read { file: name.to_owned(), cause }),
        }
    }
}

#[expect(clippy::print_stdout, reason = "the figures are the point of the example")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err("export DIR OUT.onnx [--exact] [--opset N] [--prompt TEXT]… [--task TEXT]".into());
    };
    let mut options = ExportOptions::default();
    let mut prompt = Prompt::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--exact" => options.exact = true,
            "--opset" => options.opset = arguments.next().unwrap_or_default().parse()?,
            "--prompt" => prompt.texts.extend(arguments.next()),
            "--task" => prompt.task = arguments.next(),
            other => return Err(format!("unknown argument `{other}`").into()),
        }
    }
    options.prompt = (!prompt.texts.is_empty()).then_some(prompt);
    let started = Instant::now();
    let exported = export(&Folder(folder.into()), &options)?;
    let built = started.elapsed();
    let mut file = BufWriter::new(File::create(&out)?);
    let bytes = graph::onnx::write(&exported.model, &mut file)?;
    file.into_inner()?.sync_all()?;
    let total = started.elapsed();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown").trim();
    println!(
        "{} nodes, {:.1} MB, built in {:.3} s, written after {:.3} s, peak memory {peak}",
        exported.model.graph.nodes.len(),
        bytes as f64 / 1e6,
        built.as_secs_f64(),
        total.as_secs_f64()
    );
    for warning in &exported.warnings {
        println!("warning: {warning}");
    }
    Ok(())
}

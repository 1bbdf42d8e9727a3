//! Exports a folder's checkpoint to an ONNX file and prints how long it took and how much memory it needed.
//!
//!     cargo run --release -p models --example export -- DIR OUT.onnx [--exact] [--fold] [--opset N]
//!         [--size WIDTHxHEIGHT] [--prompt TEXT]… [--task TEXT]
//!
//! The memory is the peak of the whole process (`VmHWM`), the checkpoint that was read into it included.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use graph::{Model, Tensor};
use models::{Error, ExportOptions, Files, Prompt, export};
use rten_tensor::prelude::*;

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

/// The outputs of a graph without inputs.
fn constants(part: &Model) -> Result<Vec<Tensor>, String> {
    let mut bytes = Vec::new();
    graph::onnx::write(part, &mut bytes).map_err(|error| error.to_string())?;
    let model = rten::Model::load(bytes).map_err(|error| error.to_string())?;
    let name = |output: &graph::ValueInfo| model.node_id(&output.name);
    let names = part.graph.outputs.iter().map(name).collect::<Result<Vec<_>, _>>();
    let outputs = model.run(vec![], &names.map_err(|error| error.to_string())?, None);
    let tensor = |value: rten::Value| {
        let values: rten_tensor::Tensor<f32> = value.try_into().map_err(|error| format!("{error:?}"))?;
        Tensor::from_f32(values.shape(), values.to_vec()).map_err(|error| error.to_string())
    };
    outputs.map_err(|error| error.to_string())?.into_iter().map(tensor).collect()
}

#[expect(clippy::print_stdout, reason = "the figures are the point of the example")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err(
            "export DIR OUT.onnx [--exact] [--fold] [--opset N] [--size WIDTHxHEIGHT] [--prompt TEXT]… [--task TEXT]".into()
        );
    };
    let mut options = ExportOptions::default();
    let (mut prompt, mut fold) = (Prompt::default(), false);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--fold" => fold = true,
            "--exact" => options.exact = true,
            "--opset" => options.opset = arguments.next().unwrap_or_default().parse()?,
            "--size" => {
                let size = arguments.next().unwrap_or_default();
                let (width, height) = size.split_once('x').ok_or("--size WIDTHxHEIGHT")?;
                options.size = Some((height.parse()?, width.parse()?));
            }
            "--prompt" => prompt.texts.extend(arguments.next()),
            "--task" => prompt.task = arguments.next(),
            other => return Err(format!("unknown argument `{other}`").into()),
        }
    }
    options.prompt = (!prompt.texts.is_empty()).then_some(prompt);
    let started = Instant::now();
    let mut exported = export(&Folder(folder.into()), &options)?;
    let built = started.elapsed();
    if fold {
        let folded = graph::passes::fold_constants(&mut exported.model, &constants)?;
        println!("{folded} nodes folded after {:.3} s", started.elapsed().as_secs_f64());
    }
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

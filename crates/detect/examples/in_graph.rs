//! Graphs with preprocessing and suppression inside, for a run under another runtime, and what it found against the code
//! around the graph: `tests/fixtures/check_in_graph.py` calls this twice.
//!
//! `in_graph write MODEL IMAGES OUT` writes the graphs, and for each image the frame and the network's own input.
//! `in_graph compare OUT` reads what came out of each.
#![expect(clippy::print_stdout, reason = "a tool prints its figures")]

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use detect::in_graph::{Suppression, SuppressionForm, preprocess_in_graph, suppress_in_graph};
use detect::metrics::{Agreement, AgreementBounds};
use detect::{Detector, Frames, Geometry, Image, Matrix, Thresholds, preprocess};
use graph::{DataType, Model, Tensor};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["write", model, images, out] => write(Path::new(model), Path::new(images), Path::new(out)),
        ["compare", out] => compare(Path::new(out)),
        _ => Err("usage: in_graph write MODEL IMAGES OUT | in_graph compare OUT".into()),
    }
}

fn options(form: SuppressionForm, detector: &Detector) -> Suppression {
    let usual = Thresholds::for_head(&detector.head);
    // Low, so that there is much to compare.
    Suppression { confidence: 0.05, iou: usual.iou, top_k: 100, ..Suppression::new(form) }
}

fn write(model: &Path, images: &Path, out: &Path) -> Outcome {
    let model = graph::onnx::read(std::fs::read(model)?.into(), &|name| Err(name.to_owned()))?;
    let text = model.metadata.get(Detector::METADATA_KEY).ok_or("the model carries no description")?;
    let detector = Detector::from_json(text)?;
    let framed = |frames: Frames| preprocess_in_graph(model.clone(), &detector, frames);
    let suppressed = |made: &(Model, Detector), form| {
        suppress_in_graph(made.0.clone(), &made.1, &options(form, &detector))
    };
    let plain = (model.clone(), detector.clone());
    let frames = framed(Frames::Rgb)?;
    let mut graphs = vec![
        ("end2end", suppressed(&frames, SuppressionForm::Onnx)?),
        ("end2end_trt", suppressed(&frames, SuppressionForm::TensorRt)?),
        ("suppressed", suppressed(&plain, SuppressionForm::Onnx)?),
        ("nv12", framed(Frames::nv12(Matrix::Bt709))?),
        ("plain", plain),
    ];
    let mut seen = frames;
    let pixels = seen.0.graph.values.get(&detector.input.tensor).cloned();
    seen.0.graph.outputs.push(pixels.ok_or("the network's input is not described")?);
    graphs.push(("frames", seen));
    std::fs::create_dir_all(out)?;
    for (name, (model, _)) in &graphs {
        let mut bytes = Vec::new();
        graph::onnx::write(model, &mut bytes)?;
        std::fs::write(out.join(format!("{name}.onnx")), bytes)?;
    }
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(images)?.map(|entry| Ok(entry?.path())).collect::<Outcome<_>>()?;
    paths.sort();
    let mut listed = String::new();
    for path in paths {
        let image = Image::decode(&std::fs::read(&path)?)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        writeln!(listed, "{stem} {} {}", image.width(), image.height())?;
        for (name, (_, described)) in &graphs {
            for (input, tensor) in preprocess(&described.input, &[&image])?.inputs {
                let shared = if described.input.frames.is_some() { "" } else { "plain_" };
                let _ = name;
                save(&out.join(format!("{shared}{input}-{stem}.npy")), &tensor)?;
            }
        }
    }
    std::fs::write(out.join("images.txt"), listed)?;
    Ok(())
}

fn compare(out: &Path) -> Outcome {
    let described = |name: &str| -> Outcome<Detector> {
        let bytes = std::fs::read(out.join(format!("{name}.onnx")))?;
        let model = graph::onnx::read(bytes.into(), &|name| Err(name.to_owned()))?;
        let text = model.metadata.get(Detector::METADATA_KEY).ok_or("the model carries no description")?;
        Ok(Detector::from_json(text)?)
    };
    let plain = described("plain")?;
    let own = options(SuppressionForm::Onnx, &plain);
    let thresholds =
        Thresholds { confidence: own.confidence, iou: own.iou, max_detections: own.top_k, clip: true };
    let bounds = AgreementBounds { confidence: 0.06, same_iou: 0.5, moved_iou: 0.99, score_difference: 0.01 };
    let found = |name: &str, detector: &Detector, stem: &str, size: (u32, u32)| -> Outcome<_> {
        let outputs =
            detector.head.outputs().into_iter().map(|output| {
                Ok((output.to_owned(), load(&out.join(format!("{name}-{output}-{stem}.npy")))?))
            });
        let outputs = outputs.collect::<Outcome<Vec<_>>>()?;
        let geometry = Geometry::new(&detector.input, size);
        Ok(detector.decode(&outputs, &[geometry], &thresholds)?.remove(0))
    };
    for name in ["frames", "end2end", "suppressed", "nv12"] {
        let detector = described(name)?;
        let mut total = Agreement::EMPTY;
        let mut same_number = true;
        for line in std::fs::read_to_string(out.join("images.txt"))?.lines() {
            let parts: Vec<&str> = line.split(' ').collect();
            let &[stem, width, height] = &parts[..] else { return Err("a damaged list".into()) };
            let size = (width.parse()?, height.parse()?);
            let (expected, found) =
                (found("plain", &plain, stem, size)?, found(name, &detector, stem, size)?);
            same_number &= expected.len() == found.len();
            total.merge(&Agreement::new(&expected, &found, &bounds));
        }
        println!(
            "{name:<11} {} pairs, {} missed, {} extra, {} moved, {} rescored; scores within {:.1e}, IoU at least {:.6}, \
             same numbers: {same_number}",
            total.matched,
            total.missed,
            total.extra,
            total.moved,
            total.rescored,
            total.max_score_difference,
            total.min_iou
        );
    }
    Ok(())
}

/// `NumPy`'s file format, version 1.
fn save(path: &Path, tensor: &Tensor) -> Outcome {
    let kind = match tensor.dtype() {
        DataType::U8 => "|u1",
        DataType::F32 => "<f4",
        DataType::I64 => "<i8",
        other => return Err(format!("{other} is not written").into()),
    };
    let sizes: Vec<String> = tensor.shape().iter().map(|size| format!("{size},")).collect();
    let sizes = sizes.concat();
    let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({sizes}), }}");
    while (header.len() + 11) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(tensor.bytes());
    Ok(std::fs::write(path, bytes)?)
}

fn load(path: &Path) -> Outcome<Tensor> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..10 + length])?;
    let dtype = [("<f4", DataType::F32), ("<i4", DataType::I32), ("<i8", DataType::I64)];
    let dtype = dtype.iter().find(|(kind, _)| header.contains(kind)).ok_or("an unknown type of numbers")?.1;
    let shape = header.split(['(', ')']).nth(1).ok_or("no shape")?;
    let shape = shape.split(',').map(str::trim).filter(|size| !size.is_empty());
    let shape = shape.map(str::parse).collect::<Result<Vec<usize>, _>>()?;
    Ok(Tensor::new(dtype, shape, bytes[10 + length..].to_vec().into())?)
}

//! Encrypted models of NVIDIA TAO: `tao-converter` makes an engine of one; without it, its command line is what we can give.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use deploy::{PackageName, Precision, paths};
use runtime::tools::tao_converter::{Conversion, convert};
use runtime::tools::trtexec::quoted;
use serde::Serialize;

use super::Batches;
use super::source::file_name;
use crate::run::Event;
use crate::steps::BUILD;
use crate::{Error, map_file};

/// How an `.etlt` file is to be converted. What is absent is looked for in its header and in `nvinfer_config.txt` beside it.
#[derive(Debug, Clone)]
pub struct Converting {
    /// The key that it was encrypted with.
    pub key: Option<String>,
    /// Channels, height and width.
    pub dims: Option<[u32; 3]>,
    /// Names of the outputs.
    pub outputs: Vec<String>,
    /// Name of the input.
    pub input: Option<String>,
    /// The batches that the engine takes.
    pub batches: Batches,
    /// What it computes with.
    pub precision: Precision,
    /// Scales for INT8.
    pub calibration: Option<PathBuf>,
    /// The folder for the engine.
    pub out: PathBuf,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Converted {
    /// The command line of `tao-converter`.
    pub command: String,
    /// The engine; `None` when the program is not on this machine.
    pub engine: Option<PathBuf>,
}

/// Converts with `program`; without one, only the command line is made.
///
/// # Errors
/// [`Error::Options`] with everything that is not known; [`Error::Runtime`] when the program fails.
pub fn convert_etlt(
    model: &Path,
    options: &Converting,
    program: Option<&Path>,
    cancelled: &AtomicBool,
    tell: &dyn Fn(Event<'_>),
) -> Result<Converted, Error> {
    let header = graph::etlt_input(&map_file(model)?)?;
    let is_uff = header.is_some();
    let known = Known::beside(model);
    let key = options.key.clone().or(known.key);
    let dims = options.dims.or(known.dims);
    let outputs = if options.outputs.is_empty() { known.outputs } else { options.outputs.clone() };
    let input = options.input.clone().or(header).or(known.input);
    let missing: Vec<&str> = [
        (key.is_none(), "`--key`"),
        (dims.is_none(), "`--dims`"),
        (outputs.is_empty(), "`--outputs`"),
        (input.is_none(), "`--input`"),
    ]
    .into_iter()
    .filter_map(|(is_missing, option)| is_missing.then_some(option))
    .collect();
    let (Some(key), Some(dims), Some(input), true) = (key, dims, input, missing.is_empty()) else {
        let reason = format!(
            "`{}` is encrypted and says nothing of itself: {} are needed; the model's page on NGC names them",
            model.display(),
            missing.join(", ")
        );
        return Err(Error::Options(reason));
    };
    let name: PackageName = file_name(&model.file_stem().unwrap_or_default().to_string_lossy()).parse()?;
    let engine = options.out.join(paths::engine(&name, options.batches.max));
    let precision = options.precision.to_string();
    let Batches { min, opt, max } = options.batches;
    let conversion = Conversion {
        model,
        engine: &engine,
        key: &key,
        dims,
        outputs: &outputs,
        input: (!is_uff).then_some(input.as_str()),
        batches: [min, opt, max],
        precision: &precision,
        calibration: options.calibration.as_deref(),
    };
    let words = conversion.arguments().into_iter().map(|word| quoted(&word.to_string_lossy()));
    let command = std::iter::once("tao-converter".to_owned()).chain(words).collect::<Vec<_>>().join(" ");
    let Some(program) = program else { return Ok(Converted { command, engine: None }) };
    let folder = engine.parent().unwrap_or(&options.out);
    crate::store::create_dir(folder)?;
    // Written beside and renamed: an engine is whole or absent.
    let place = tempfile::Builder::new().prefix(".partial-").tempdir_in(folder);
    let place = place.map_err(|source| Error::Io { path: folder.to_owned(), source })?;
    let partial = place.path().join("engine");
    let conversion = Conversion { engine: &partial, ..conversion };
    convert(program, &conversion, cancelled, &mut |line| {
        tell(Event::Note { step: BUILD.name, message: line });
    })?;
    crate::store::rename(&partial, &engine)?;
    Ok(Converted { command, engine: Some(engine) })
}

/// What `nvinfer_config.txt` says.
#[derive(Debug, Default, PartialEq)]
struct Known {
    key: Option<String>,
    dims: Option<[u32; 3]>,
    outputs: Vec<String>,
    input: Option<String>,
}

impl Known {
    fn beside(model: &Path) -> Self {
        let text = std::fs::read_to_string(model.with_file_name("nvinfer_config.txt"));
        text.map(|text| Self::parse(&text)).unwrap_or_default()
    }

    fn parse(text: &str) -> Self {
        let mut known = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            let value = value.trim();
            let numbers =
                || value.split(';').filter_map(|number| number.trim().parse().ok()).collect::<Vec<u32>>();
            match key.trim() {
                "tlt-model-key" => known.key = Some(value.to_owned()),
                // The older key has the order of the axes behind the sizes.
                "infer-dims" | "input-dims" | "uff-input-dims" => {
                    if let [channels, height, width, ..] = numbers()[..] {
                        known.dims = Some([channels, height, width]);
                    }
                }
                "output-blob-names" => {
                    let names = value.split(';').map(str::trim).filter(|name| !name.is_empty());
                    known.outputs = names.map(str::to_owned).collect();
                }
                "uff-input-blob-name" => known.input = Some(value.to_owned()),
                _ => {}
            }
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_says_what_it_knows() {
        let text = "tlt-model-key=tlt_encode\ninfer-dims=3;544;960\nuff-input-blob-name=input_1\n\
                    output-blob-names=output_bbox/BiasAdd;output_cov/Sigmoid\nnet-scale-factor=0.0039\n";
        let known = Known::parse(text);
        assert_eq!(
            (known.key.as_deref(), known.dims, known.input.as_deref()),
            (Some("tlt_encode"), Some([3, 544, 960]), Some("input_1"))
        );
        assert_eq!(known.outputs, ["output_bbox/BiasAdd", "output_cov/Sigmoid"]);
        assert_eq!(Known::parse("infer-dims=3;x\noutput-blob-names=;\nnonsense"), Known::default());
        assert_eq!(Known::parse("uff-input-dims=3;384;1248;0").dims, Some([3, 384, 1248]));
    }
}

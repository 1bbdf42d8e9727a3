//! Prints the detector that is derived for an ONNX file, from the file and what lies beside it.
//!
//!     cargo run --release -p models --example describe -- MODEL.onnx [FOLDER]
//!
//! FOLDER holds `config.json`, `preprocessor_config.json`, `labels.txt` …; without it the ONNX file's own is taken.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use models::{Error, Files, ImportOptions, import_onnx};

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

#[expect(clippy::print_stdout, reason = "the description is the point of the example")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let Some(file) = arguments.next() else {
        return Err("describe MODEL.onnx [FOLDER]".into());
    };
    let beside = Path::new(&file).parent().map(Path::to_owned).unwrap_or_default();
    let folder = arguments.next().map_or(beside, PathBuf::from);
    let model = graph::onnx::read_structure(std::fs::read(&file)?.into())?;
    match import_onnx(&model, &Folder(folder), &ImportOptions::default()) {
        Ok(detector) => println!("{}", detector.to_json()),
        Err(error) => {
            println!("{error}");
            if let Some(hint) = error.hint() {
                println!("hint: {hint}");
            }
        }
    }
    Ok(())
}

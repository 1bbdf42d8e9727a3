//! Stands in for nvinfer: compiles a bounding-box parser with a header of ours and calls it on tensors.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An output tensor of one frame, as nvinfer hands it to the parser.
pub(crate) struct Layer {
    pub(crate) name: String,
    /// Number of the data type in `NvDsInferDataType`.
    pub(crate) dtype: u32,
    pub(crate) dims: Vec<u64>,
    /// `None` for a missing buffer.
    pub(crate) bytes: Option<Vec<u8>>,
    /// What is stated as the number of elements, where that is another one.
    pub(crate) elements: Option<u64>,
}

impl Layer {
    pub(crate) fn floats(name: &str, dims: &[usize], values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::of(name, 0, dims, bytes)
    }

    pub(crate) fn of(name: &str, dtype: u32, dims: &[usize], bytes: Vec<u8>) -> Self {
        let dims = dims.iter().map(|length| *length as u64).collect();
        Self { name: name.to_owned(), dtype, dims, bytes: Some(bytes), elements: None }
    }
}

/// A compiled parser.
pub(crate) struct Parser {
    program: PathBuf,
    folder: tempfile::TempDir,
}

/// An object that a parser found.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) label: u32,
    pub(crate) score: f32,
    /// Left, top, right, bottom in pixels of the network's input.
    pub(crate) corners: [f32; 4],
}

/// What a parser answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) accepted: bool,
    pub(crate) objects: Vec<Object>,
    pub(crate) told: String,
}

/// The folder of the header and of the program that calls parsers.
pub(crate) fn header_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/tests/deepstream")
}

/// Whether `g++` is there.
pub(crate) fn has_compiler() -> bool {
    Command::new("g++").arg("--version").output().is_ok_and(|output| output.status.success())
}

impl Parser {
    /// Compiles the parser with all warnings as errors, and with sanitizers: an access beyond a tensor ends the program.
    pub(crate) fn compile(source: &str, symbol: &str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (file, program) = (folder.path().join("parser.cpp"), folder.path().join("driver"));
        std::fs::write(&file, source).unwrap();
        let header = header_folder();
        let output = Command::new("g++")
            .args(["-std=c++17", "-O0", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined"])
            .args(["-fno-sanitize-recover=all", &format!("-DPARSER={symbol}")])
            .args(more)
            .arg("-I")
            .arg(&header)
            .args([&file, &header.join("driver.cpp")])
            .arg("-o")
            .arg(&program)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}\n{source}", String::from_utf8_lossy(&output.stderr));
        Self { program, folder }
    }

    /// Calls the parser.
    pub(crate) fn parse(&self, network: (u32, u32), thresholds: &[f32], layers: &[Layer]) -> Answer {
        let mut case = format!("network\t{}\t{}\nthresholds", network.0, network.1);
        for threshold in thresholds {
            let _ = write!(case, "\t{threshold}");
        }
        for (at, layer) in layers.iter().enumerate() {
            let mut place = "-".to_owned();
            if let Some(bytes) = &layer.bytes {
                let file = self.folder.path().join(format!("{at}.bin"));
                std::fs::write(&file, bytes).unwrap();
                file.to_str().unwrap().clone_into(&mut place);
            }
            let _ = write!(case, "\nlayer\t{}\t{}\t{place}", layer.name, layer.dtype);
            for length in &layer.dims {
                let _ = write!(case, "\t{length}");
            }
            if let Some(elements) = layer.elements {
                let _ = write!(case, "\t={elements}");
            }
        }
        let file = self.folder.path().join("case.txt");
        std::fs::write(&file, case + "\n").unwrap();
        let output = Command::new(&self.program).arg(&file).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}");
        let text = String::from_utf8(output.stdout).unwrap();
        let mut lines = text.lines();
        let accepted = lines.next().unwrap() == "true";
        Answer { accepted, objects: lines.map(object).collect(), told }
    }
}

fn object(line: &str) -> Object {
    let numbers: Vec<f32> = line.split(' ').map(|number| number.parse().unwrap()).collect();
    let [label, left, top, width, height, score, angle] = numbers[..] else { panic!("{line}") };
    assert!(angle.to_bits() == 0, "a forgotten angle: {line}");
    Object { label: label as u32, score, corners: [left, top, left + width, top + height] }
}

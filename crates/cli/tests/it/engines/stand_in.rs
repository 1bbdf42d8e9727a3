//! The part of the stand-in for `trtexec` that a shell script cannot play: computing what an engine answers.
//!
//! The script runs this test binary again, for this one test, with variables that say what to compute. The engine that it
//! "built" is a header and a copy of the graph, which the embedded backend runs.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use pipeline::detect::{Detector, Image, preprocess};
use pipeline::graph::{self, DataType, Tensor};
use pipeline::runtime::{self, LoadOptions, OnnxSource};

/// What `trtexec` is asked: an engine, files for its inputs, their shapes, where the outputs go.
struct Question {
    engine: PathBuf,
    inputs: String,
    shapes: String,
    output: PathBuf,
}

impl Question {
    /// From the variables that the script sets.
    fn asked() -> Option<Self> {
        #[expect(clippy::disallowed_methods, reason = "this is how the script asks")]
        let read = |name: &str| std::env::var(name).ok();
        Some(Self {
            engine: read("STAND_IN_ENGINE")?.into(),
            inputs: read("STAND_IN_INPUTS")?,
            shapes: read("STAND_IN_SHAPES").unwrap_or_default(),
            output: read("STAND_IN_OUTPUT")?.into(),
        })
    }

    fn answer(&self, folder: &Path) {
        let engine = fs::read(&self.engine).unwrap();
        let text = String::from_utf8_lossy(&engine[..64]).into_owned();
        let behaviour = fs::read_to_string(behaviour_file()).unwrap_or_default();
        assert!(text.starts_with("ftrt"));
        // The header, a line feed, a line that says whether it is half, then the graph.
        let graph = engine[29..].iter().position(|byte| *byte == b'\n').unwrap() + 30;
        let model = graph::onnx::read_structure(engine[graph..].to_vec().into()).unwrap();
        let backend = runtime::backend("embedded").unwrap();
        let mut session =
            backend.load(OnnxSource::Bytes(engine[graph..].to_vec()), &LoadOptions::default()).unwrap();
        let mut tensors = Vec::new();
        for info in &model.graph.inputs {
            let (_, file) = pair(&self.inputs, &info.name).expect("a file for every input");
            let shape = match pair(&self.shapes, &info.name) {
                Some((_, shape)) => shape.split('x').map(|size| size.parse().unwrap()).collect(),
                None => info.fixed_shape().unwrap(),
            };
            let bytes = fs::read(folder.join(file)).unwrap();
            tensors.push((info.name.clone(), Tensor::new(DataType::F32, shape, bytes.into()).unwrap()));
        }
        let inputs: Vec<(&str, &Tensor)> =
            tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let mut outputs = session.run(&inputs).unwrap();
        if behaviour.contains("WRONG=rows") {
            // As some versions do: every row of a batch gets the first row's answer.
            for (_, tensor) in &mut outputs {
                let rows = vec![tensor.row(0).unwrap(); tensor.shape()[0]];
                *tensor = Tensor::stack(&rows.iter().collect::<Vec<_>>()).unwrap();
            }
        }
        fs::write(&self.output, written(&outputs)).unwrap();
    }
}

/// The file that says what the script does.
fn behaviour_file() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "this is how the script asks")]
    std::env::var("STAND_IN_BEHAVIOUR").map(PathBuf::from).unwrap_or_default()
}

/// The part of `a:1,b:2` that belongs to a name.
fn pair<'t>(list: &'t str, name: &str) -> Option<(&'t str, &'t str)> {
    list.split(',').filter_map(|part| part.rsplit_once(':')).find(|(known, _)| *known == name)
}

/// As `exportJSONOutput` writes: six significant digits, names as they are.
fn written(outputs: &[(String, Tensor)]) -> String {
    let mut text = String::from("[\n");
    for (at, (name, tensor)) in outputs.iter().enumerate() {
        let sizes: Vec<String> = tensor.shape().iter().map(ToString::to_string).collect();
        let values: Vec<String> = match tensor.to_i64() {
            Ok(values) => values.iter().map(ToString::to_string).collect(),
            Err(_) => tensor.to_f32().unwrap().iter().map(|value| format!("{value:.5e}")).collect(),
        };
        let mark = if at == 0 { " " } else { "," };
        let _ = write!(
            text,
            " {mark}{{ \"name\" : \"{name}\"\n  , \"dimensions\" : \"{}\"\n  , \"values\" : [ {} ]\n  }}\n",
            sizes.join("x"),
            values.join(", ")
        );
    }
    text.push_str("]\n");
    text
}

#[test]
fn outputs_are_written_as_trtexec_writes_them() {
    if let Some(question) = Question::asked() {
        return question.answer(&std::env::current_dir().unwrap());
    }
    // Asked by nobody: the answers for the trained detector can be read back.
    let home = tempfile::tempdir().unwrap();
    let onnx = super::exported(home.path());
    let bytes = fs::read(&onnx).unwrap();
    let model = graph::onnx::read_structure(bytes.clone().into()).unwrap();
    let engine = home.path().join("e.engine");
    fs::write(&engine, [&b"ftrt"[..], &[0; 20], &[8, 6, 1, 0], b"\nhalf=\n", &bytes].concat()).unwrap();
    let detector = Detector::from_json(&model.metadata[Detector::METADATA_KEY]).unwrap();
    let image = fs::read(crate::program::example().join("val/images/000000.jpg")).unwrap();
    let fed = preprocess(&detector.input, &[Image::decode(&image).unwrap()]).unwrap();
    let (mut files, mut shapes) = (Vec::new(), Vec::new());
    for (at, (name, tensor)) in fed.inputs.iter().enumerate() {
        fs::write(home.path().join(format!("{at}.bin")), tensor.bytes()).unwrap();
        let sizes: Vec<String> = tensor.shape().iter().map(ToString::to_string).collect();
        files.push(format!("{name}:{at}.bin"));
        shapes.push(format!("{name}:{}", sizes.join("x")));
    }
    let output = home.path().join("o.json");
    Question { engine, inputs: files.join(","), shapes: shapes.join(","), output: output.clone() }
        .answer(home.path());
    let read =
        runtime::tools::trtexec::read_outputs(&fs::read_to_string(output).unwrap(), &model.graph.outputs)
            .unwrap();
    let backend = runtime::backend("embedded").unwrap();
    let mut session = backend.load(OnnxSource::Bytes(bytes), &LoadOptions::default()).unwrap();
    let inputs: Vec<(&str, &Tensor)> =
        fed.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let expected = session.run(&inputs).unwrap();
    for found in runtime::compare_outputs(&expected, &read).unwrap() {
        assert!(found.comparison.max_relative.is_some_and(|far| far < 1e-5), "{found:?}");
    }
}

//! ONNX Runtime: the model, its description, and two programs that need nothing else.
//!
//! The Python program reads `detector.json` and knows every kind of detector; the Rust program is made for this one.
//! Templates hold values, never logic: which pieces a program is made of is decided in [`program`].

pub(super) mod program;

use detect::{Detector, Head};

use super::{Deployment, Target};
use crate::{Error, FileTree, PackageName};

/// The target `onnxruntime`.
pub(super) struct OnnxRuntime;

const FOLDER: &str = "onnxruntime";

impl Target for OnnxRuntime {
    fn name(&self) -> &'static str {
        FOLDER
    }

    fn about(&self) -> &'static str {
        "The ONNX file with a Python and a Rust program that need only ONNX Runtime."
    }

    fn render(&self, deployment: &Deployment<'_>) -> Result<FileTree, Error> {
        let Deployment { name, detector, model, .. } = *deployment;
        let file = format!("{name}.onnx");
        let mut tree = FileTree::new();
        tree.add_same_as(format!("{FOLDER}/{file}"), model)?;
        tree.add(format!("{FOLDER}/detector.json"), detector.to_json())?;
        tree.add(format!("{FOLDER}/README.md"), readme(name, &file, detector))?;
        tree.add(
            format!("{FOLDER}/python/detect.py"),
            filled(include_str!("detect.py"), &[("MODEL", &file), ("DETECTOR", python_detector())]),
        )?;
        tree.add(format!("{FOLDER}/rust/Cargo.toml"), program::cargo_toml(detector))?;
        tree.add(format!("{FOLDER}/rust/src/main.rs"), program::main(name, &file, detector))?;
        Ok(tree)
    }
}

/// Preprocessing and decoding in Python, for a program that has imported `json`, `sys`, `numpy` and Pillow.
pub(super) fn python_detector() -> &'static str {
    let text = include_str!("../python/detector.py");
    text.split_once("# @BEGIN@\n").map_or(text, |(_, body)| body).trim_end()
}

/// Puts values in the places of a template: `@KEY@`. A value is not looked at again.
pub(super) fn filled(template: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('@') {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let place = values.iter().find_map(|(key, value)| {
            let tail = after[1..].strip_prefix(key)?.strip_prefix('@')?;
            Some((*value, tail))
        });
        if let Some((value, tail)) = place {
            out.push_str(value);
            rest = tail;
        } else {
            out.push('@');
            rest = &after[1..];
        }
    }
    out.push_str(rest);
    out
}

fn readme(name: &PackageName, file: &str, detector: &Detector) -> String {
    let input = &detector.input;
    let row = |(name, dtype, shape): (&str, &str, String)| {
        let note =
            if input.image_size.as_deref() == Some(name) { " (width, height of the image)" } else { "" };
        format!("| `{name}` | {dtype} | {shape}{note} |")
    };
    let mut inputs: Vec<String> = input.tensors().into_iter().map(row).collect();
    if let Some(frames) = &input.frames {
        inputs.push(format!(
            "\nThe model takes {}. Nothing is resized or normalised before; boxes come out in their pixels.",
            frames.about()
        ));
    }
    filled(
        include_str!("README.md.in"),
        &[
            ("NAME", name.as_str()),
            ("MODEL", file),
            ("THRESHOLD", &program::threshold(&detector.head).to_string()),
            ("INPUTS", &inputs.join("\n")),
            ("OUTPUTS", &outputs(&detector.head).join("\n")),
        ],
    )
}

fn outputs(head: &Head) -> Vec<String> {
    let row = |name: &str, meaning: &str| format!("| `{name}` | {meaning} |");
    match head {
        Head::Queries { logits, boxes, .. } => {
            vec![row(logits, "class scores of each query, raw"), row(boxes, "a box for each query")]
        }
        Head::Dense { output, .. } => vec![row(output, "a box and class scores for each cell")],
        Head::EndToEnd { output, .. } => vec![row(output, "box, score and class of each detection")],
        Head::EndToEndParts { count, boxes, scores, classes, .. } => [
            count.as_deref().map(|count| row(count, "how many rows are used")),
            Some(row(boxes, if scores.is_some() { "boxes" } else { "boxes and scores" })),
            scores.as_deref().map(|scores| row(scores, "scores")),
            Some(row(classes, "class ids")),
        ]
        .into_iter()
        .flatten()
        .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::filled;

    #[test]
    fn values_are_put_in_once() {
        let values = [("A", "@B@"), ("B", "x"), ("AB", "y")];
        assert_eq!(filled("@A@ @B@ @AB@ @C@ a@b.c @", &values), "@B@ x y @C@ a@b.c @");
    }
}

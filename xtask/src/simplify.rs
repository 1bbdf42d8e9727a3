//! `xtask simplify`: `sightline optimize` beside onnxsim and onnxslim, whole process against whole process.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::parity::child;

const USAGE: &str = "\
usage: cargo run --release -p xtask -- simplify --program SIGHTLINE --python PY FILE.onnx…

  --program SIGHTLINE   the program
  --python PY           interpreter with ONNX, onnxsim and onnxslim";

/// One tool's result.
struct Made {
    nodes: Option<u64>,
    time: Duration,
    /// What it says of the outputs.
    check: String,
}

/// Prints the table.
pub(crate) fn compare(arguments: &[String], say: fn(&str)) -> Result<(), String> {
    let (mut program, mut python, mut files) = (None, None, Vec::new());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--program" => program = rest.next(),
            "--python" => python = rest.next(),
            option if option.starts_with('-') => return Err(format!("unknown option `{option}`\n{USAGE}")),
            file => files.push(PathBuf::from(file)),
        }
    }
    let (Some(program), Some(python), false) = (program, python, files.is_empty()) else {
        return Err(USAGE.to_owned());
    };
    let place = std::env::temp_dir().join(format!("simplify-{}", std::process::id()));
    std::fs::create_dir_all(&place).map_err(|error| format!("`{}`: {error}", place.display()))?;
    say("| graph | nodes | sightline | checked | s unchecked | s checked | onnxsim | s | onnxslim | s |");
    say("|---|---|---|---|---|---|---|---|---|---|");
    for file in &files {
        say(&row(program, python, file, &place.join("out.onnx")));
    }
    std::fs::remove_dir_all(&place).map_err(|error| format!("`{}`: {error}", place.display()))
}

fn row(program: &str, python: &str, file: &Path, out: &Path) -> String {
    let ours = |more: &[&str]| {
        let mut command = Command::new(program);
        command.args(["optimize", "--json", "--out"]).arg(out).arg(file).args(more);
        child::run(&mut command).and_then(|done| {
            let value: Value = serde_json::from_str(&done.output).map_err(|error| error.to_string())?;
            let check = value["check"]["difference"].as_f64();
            let check = check.map_or_else(|| "no".to_owned(), |difference| format!("{difference:.1e}"));
            Ok((
                value["nodes_before"].as_u64(),
                Made { nodes: value["nodes_after"].as_u64(), time: done.time, check },
            ))
        })
    };
    let peer = |module: &str, function: &str| {
        let mut command = Command::new(python);
        command.args(["-c", &format!("import sys, {module}; {function}")]).arg(file).arg(out);
        let done = child::run(&mut command)?;
        let mut count = Command::new(python);
        count.args([
            "-c",
            "import onnx, sys; print(len(onnx.load(sys.argv[1], load_external_data=False).graph.node))",
        ]);
        let nodes = child::run(count.arg(out))?.output.trim().parse().ok();
        Ok(Made { nodes, time: done.time, check: String::new() })
    };
    let name = file.file_stem().unwrap_or_default().display().to_string();
    let (fast, whole) = (ours(&["--unchecked"]), ours(&[]));
    let sim = peer("onnx, onnxsim", "onnx.save(onnxsim.simplify(sys.argv[1])[0], sys.argv[2])");
    let slim = peer("onnx, onnxslim", "onnx.save(onnxslim.slim(sys.argv[1]), sys.argv[2])");
    let mut text = format!("| {name} ");
    match (&fast, &whole) {
        (Ok((before, made)), Ok((_, checked))) => {
            let _ = write!(
                text,
                "| {} | {} | {} | {:.2} | {:.2} ",
                before.unwrap_or(0),
                made.nodes.unwrap_or(0),
                checked.check,
                made.time.as_secs_f64(),
                checked.time.as_secs_f64()
            );
        }
        (Err(error), _) | (_, Err(error)) => {
            let _ = write!(text, "| — | {error} | — | — | — ");
        }
    }
    for made in [sim, slim] {
        let made: Result<Made, String> = made;
        let _ = match made {
            Ok(made) => write!(text, "| {} | {:.2} ", made.nodes.unwrap_or(0), made.time.as_secs_f64()),
            Err(error) => write!(text, "| {error} | — "),
        };
    }
    text.push('|');
    text
}

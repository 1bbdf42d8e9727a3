//! What every Rust file obeys: it says what it is for, it is short, it is not called `utils`; and what a pure crate does
//! without.

use std::error::Error;
use std::path::{Component, Path, PathBuf};

const LONGEST: usize = 600;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "common", "types", "misc"];

/// Words that stand in the code of these crates alone, tests aside. The rest of a crate's rules is in ARCHITECTURE.md.
const RESERVED: &[(&str, &[&str])] = &[
    ("std::fs", &["cli", "hub", "pipeline", "runtime"]),
    ("std::env", &["cli", "runtime"]),
    ("std::net", &["hub"]),
    ("process::Command", &["runtime"]),
    ("std::process::{", &["runtime"]),
    ("Instant::now", &["cli", "hub", "pipeline", "runtime"]),
    ("SystemTime", &["cli", "hub", "pipeline", "runtime"]),
];

pub(super) fn check(root: &Path, files: &[PathBuf]) -> Result<Vec<String>, Box<dyn Error>> {
    let mut problems = Vec::new();
    for path in files.iter().filter(|path| path.extension().is_some_and(|suffix| suffix == "rs")) {
        let text = std::fs::read_to_string(root.join(path))?;
        problems
            .extend(judge(path, &text).into_iter().map(|problem| format!("{}: {problem}", path.display())));
    }
    Ok(problems)
}

fn judge(path: &Path, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if !text.starts_with("//!") {
        problems.push("does not begin with `//!` and what it is for".into());
    }
    let lines = text.lines().count();
    if lines > LONGEST {
        problems.push(format!("has {lines} lines, more than {LONGEST}"));
    }
    let parts: Vec<String> = path.with_extension("").components().map(part).collect();
    if let Some(name) = parts.iter().find(|part| EMPTY_NAMES.contains(&part.as_str())) {
        problems.push(format!("`{name}` does not say what is inside"));
    }
    if let [crates, name, source, ..] = &parts[..]
        && crates == "crates"
        && source == "src"
    {
        problems.extend(reserved(name, text));
    }
    problems
}

/// Uses of what is left to other crates.
fn reserved(name: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let code = text.lines().enumerate().take_while(|(_, line)| line.trim() != "#[cfg(test)]");
    for (at, line) in code.filter(|(_, line)| !line.trim_start().starts_with("//")) {
        // What the program was built for is no part of whoever's environment.
        let line = line.replace("std::env::consts", "");
        for (word, crates) in RESERVED {
            if line.contains(word) && !crates.contains(&name) {
                let number = at + 1;
                problems.push(format!("line {number}: `{word}` is left to {}", crates.join(", ")));
            }
        }
    }
    problems
}

fn part(component: Component<'_>) -> String {
    component.as_os_str().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_finds_its_offender() {
        let long = format!("//! Long.\n{}", "\n".repeat(LONGEST));
        let cases = [
            ("crates/graph/src/a.rs", "//! Fine.\n", 0),
            ("crates/graph/src/a.rs", "use std::io;\n", 1),
            ("crates/graph/src/a.rs", long.as_str(), 1),
            ("crates/graph/src/utils.rs", "//! U.\n", 1),
            ("crates/graph/src/helpers/a.rs", "//! H.\n", 1),
            ("crates/graph/src/a.rs", "//! F.\nuse std::fs;\n", 1),
            ("crates/graph/src/a.rs", "//! F.\n/// Not `std::fs`.\n", 0),
            ("crates/graph/src/a.rs", "//! F.\n#[cfg(test)]\nmod tests { use std::fs; }\n", 0),
            ("crates/graph/tests/it/main.rs", "//! T.\nuse std::fs;\n", 0),
            ("crates/runtime/src/a.rs", "//! R.\nuse std::process::{Command, Stdio};\n", 0),
            ("crates/cli/src/a.rs", "//! C.\nuse std::process::ExitCode;\n", 0),
            ("crates/cli/src/a.rs", "//! C.\nstd::process::Command::new(\"x\");\n", 1),
            ("crates/pipeline/src/a.rs", "//! P.\nlet a = std::env::var(\"X\");\n", 1),
            ("xtask/src/a.rs", "//! X.\nuse std::fs;\n", 0),
        ];
        for (path, text, expected) in cases {
            let found = judge(Path::new(path), text);
            assert_eq!(found.len(), expected, "{path}: {found:?}");
        }
    }
}

//! Documents that still fit the folders: ARCHITECTURE.md names every crate and every folder of sources, and no document
//! names a place that is gone.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};

const MAP: &str = "ARCHITECTURE.md";

pub(super) fn check(root: &Path, files: &[PathBuf]) -> Result<Vec<String>, Box<dyn Error>> {
    let mut problems = Vec::new();
    let top = files.iter().filter(|path| path.components().count() == 1);
    for path in top.filter(|path| path.extension().is_some_and(|suffix| suffix == "md")) {
        let text = std::fs::read_to_string(root.join(path))?;
        let gone = places(&text).into_iter().filter(|place| !root.join(place).exists());
        problems.extend(gone.map(|place| format!("{}: `{place}` is not there", path.display())));
        if path == Path::new(MAP) {
            let lacking = folders(files).into_iter().filter(|place| !named(&text, place));
            problems.extend(lacking.map(|place| format!("{MAP}: does not name `{place}`")));
        }
    }
    Ok(problems)
}

/// Every crate by its name, and every folder right below a crate's sources.
fn folders(files: &[PathBuf]) -> BTreeSet<String> {
    let mut folders = BTreeSet::new();
    for path in files {
        let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
        if let [crates, name, source, rest @ ..] = &parts[..]
            && crates == "crates"
            && source == "src"
        {
            folders.insert(name.to_string());
            if let [folder, _, ..] = rest {
                folders.insert(format!("crates/{name}/src/{folder}"));
            }
        }
    }
    folders
}

/// Whether the text has this in backticks, alone or as the beginning of a longer path.
fn named(text: &str, place: &str) -> bool {
    quoted(text)
        .any(|quote| quote == place || quote.strip_prefix(place).is_some_and(|rest| rest.starts_with('/')))
}

/// Paths into the crates that the text names.
fn places(text: &str) -> BTreeSet<&str> {
    let exact = |quote: &&str| quote.starts_with("crates/") && !quote.contains(['*', '<', '{', ' ', '…']);
    quoted(text).filter(exact).collect()
}

/// What stands between backticks within a line.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_and_their_folders_are_wanted() {
        let files = [
            "crates/graph/src/lib.rs",
            "crates/graph/src/onnx/read.rs",
            "crates/hub/tests/it/main.rs",
            "README.md",
        ];
        let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
        assert_eq!(folders(&files), BTreeSet::from(["graph".into(), "crates/graph/src/onnx".into()]));
    }

    #[test]
    fn names_are_found_in_backticks_only() {
        let text =
            "### `graph`: x\n`crates/graph/src/onnx/read.rs` reads; crates/graph/src/builder does not.\n";
        for (place, expected) in [
            ("graph", true),
            ("crates/graph/src/onnx", true),
            ("crates/graph/src/on", false),
            ("crates/graph/src/builder", false),
        ] {
            assert_eq!(named(text, place), expected, "{place}");
        }
    }

    #[test]
    fn patterns_are_no_places() {
        let text = "`crates/a/src/b.rs`, `crates/<name>/src`, `crates/*/src`, `cargo run`";
        assert_eq!(places(text), BTreeSet::from(["crates/a/src/b.rs"]));
    }
}

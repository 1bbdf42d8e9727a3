//! Which crate may use which, and which outside crates are left to one of ours.
//!
//! Cargo refuses cycles, not a shortcut from `deploy` to `hub`: this list does. Tests of a crate may also use what
//! [`FOR_TESTS`] says.

use std::error::Error;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A crate of ours and the crates of ours that it may use.
const EDGES: &[(&str, &[&str])] = &[
    ("graph", &[]),
    ("hub", &[]),
    ("detect", &["graph"]),
    ("runtime", &["graph"]),
    ("models", &["detect", "graph"]),
    ("deploy", &["detect", "runtime", "graph"]),
    ("pipeline", &["deploy", "detect", "graph", "hub", "models", "runtime"]),
    ("cli", &["pipeline"]),
    ("fuzz", &["detect", "graph", "hub", "models", "runtime"]),
    ("xtask", &[]),
];

/// Crates of ours that every crate's tests may use.
const FOR_TESTS: &[&str] = &["graph", "runtime"];

/// Outside crates that only these crates may use, tests aside.
const LEFT_TO: &[(&str, &[&str])] = &[
    ("ureq", &["hub"]),
    ("ort", &["runtime"]),
    ("libloading", &["runtime"]),
    ("rten", &["runtime"]),
    ("rten-tensor", &["runtime"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
    ("typst", &["deploy"]),
    ("safetensors", &["models"]),
];

/// What cargo says about the crates of the repository.
pub(super) fn metadata(root: &Path) -> Result<Value, Box<dyn Error>> {
    let cargo = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root)
        .output()?;
    if !cargo.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&cargo.stderr)).into());
    }
    Ok(serde_json::from_slice(&cargo.stdout)?)
}

pub(super) fn check(metadata: &Value) -> Result<Vec<String>, Box<dyn Error>> {
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    let mut problems = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = EDGES.iter().find(|(known, _)| *known == name) else {
            problems.push(format!("{name}: is not in the list of crates (xtask/src/tidy/edges.rs)"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let other = dependency["name"].as_str().unwrap_or_default();
            let test = dependency["kind"] == "dev";
            let ours = !dependency["path"].is_null();
            if ours && !allowed.contains(&other) && !(test && FOR_TESTS.contains(&other)) {
                problems.push(format!("{name}: may not use `{other}`, only [{}]", allowed.join(", ")));
            }
            let left = LEFT_TO.iter().find(|(outside, _)| !ours && !test && *outside == other);
            if let Some((_, crates)) = left.filter(|(_, crates)| !crates.contains(&name)) {
                problems.push(format!("{name}: `{other}` is left to {}", crates.join(", ")));
            }
        }
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_edge_is_judged() {
        let ours = |name: &str| json!({ "name": name, "kind": null, "path": "/x" });
        let outside = |name: &str| json!({ "name": name, "kind": null });
        let cases = [
            ("detect", ours("graph"), 0),
            ("graph", ours("detect"), 1),
            ("deploy", ours("hub"), 1),
            ("deploy", json!({ "name": "graph", "kind": "dev", "path": "/x" }), 0),
            ("models", json!({ "name": "runtime", "kind": "dev", "path": "/x" }), 0),
            ("models", ours("runtime"), 1),
            ("detect", json!({ "name": "models", "kind": "dev", "path": "/x" }), 1),
            ("hub", outside("ureq"), 0),
            ("pipeline", outside("ureq"), 1),
            ("models", json!({ "name": "rten", "kind": "dev" }), 0),
            ("stray", ours("graph"), 1),
        ];
        for (name, dependency, expected) in cases {
            let metadata = json!({ "packages": [{ "name": name, "dependencies": [dependency] }] });
            let found = check(&metadata).unwrap();
            assert_eq!(found.len(), expected, "{name}: {found:?}");
        }
        assert!(check(&json!({})).is_err());
    }
}

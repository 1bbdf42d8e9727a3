//! Runs the program in a folder of its own, without the network and without the user's settings.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// The trained detector that the README imports.
pub(crate) fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shapes-rtdetr")
}

/// A command that neither sees the environment of whoever runs the tests nor reaches the network.
pub(crate) fn sightline(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sightline"));
    command.env_clear().env("HOME", home).env("HF_HUB_OFFLINE", "1").current_dir(home);
    command
}

/// A finished run.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }

    /// stdout as the one JSON document that it must be.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// The arguments of the README's import, quick to measure.
pub(crate) fn import_arguments() -> Vec<String> {
    let example = example();
    let path = |path: &str| example.join(path).to_str().unwrap().to_owned();
    ["import", &path(""), "--annotations", &path("val/instances.json"), "--images", &path("val/images")]
        .iter()
        .map(|word| (*word).to_owned())
        .chain(
            ["--seconds", "1", "--limit", "6", "--max-batch", "2", "--engine", "never", "--name", "shapes"]
                .map(str::to_owned),
        )
        .collect()
}

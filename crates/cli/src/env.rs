//! The only place that reads the environment. Every variable is named here once; `sightline --help` lists them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A variable and what it does.
pub(crate) struct Variable {
    pub(crate) name: &'static str,
    pub(crate) effect: &'static str,
}

/// The variables that matter, in order of name. Those of the Hugging Face and NGC tools are read by their own names, so
/// that one set-up serves both; `hub::Config::from_lookup` lists every spelling.
pub(crate) const VARIABLES: &[Variable] = &[
    Variable { name: "CLICOLOR_FORCE", effect: "colour even when the output is no terminal" },
    Variable { name: "HF_ENDPOINT", effect: "Hugging Face server (https://huggingface.co)" },
    Variable {
        name: "HF_HOME",
        effect: "Hugging Face folder; the cache is its `hub` (also by XDG_CACHE_HOME, HOME)",
    },
    Variable { name: "HF_HUB_CACHE", effect: "Hugging Face cache, shared with Python" },
    Variable { name: "HF_HUB_DOWNLOAD_TIMEOUT", effect: "seconds without a byte before a try ends (30)" },
    Variable { name: "HF_HUB_OFFLINE", effect: "1: use the cache only (also TRANSFORMERS_OFFLINE)" },
    Variable {
        name: "HF_TOKEN",
        effect: "token for gated and private repositories (also HUGGING_FACE_HUB_TOKEN)",
    },
    Variable { name: "HF_TOKEN_PATH", effect: "file that holds the token" },
    Variable { name: "HTTPS_PROXY", effect: "proxy, with NO_PROXY (also ALL_PROXY)" },
    Variable {
        name: "NGC_API_KEY",
        effect: "key for NGC models that guests may not download (also NGC_CLI_API_KEY, NGC_APP_KEY)",
    },
    Variable { name: "NGC_CLI_ORG", effect: "organisation and NGC_CLI_TEAM, team, that the key belongs to" },
    Variable { name: "NO_COLOR", effect: "no colour" },
    Variable {
        name: "PIP_INDEX_URL",
        effect: "package index that `runtime install` fetches from, as pip does",
    },
    Variable {
        name: "SIGHTLINE_CACHE",
        effect: "folder of the environment that `--exporter python` installs (~/.cache/sightline, also by XDG_CACHE_HOME)",
    },
    Variable {
        name: "SIGHTLINE_DATA",
        effect: "folder of installed libraries (~/.local/share/sightline, also by XDG_DATA_HOME)",
    },
    Variable {
        name: "SIGHTLINE_ONNXRUNTIME",
        effect: "the file of ONNX Runtime to load, instead of an installed one",
    },
    Variable {
        name: "SIGHTLINE_TRTEXEC",
        effect: "the `trtexec` that `build` uses, instead of the one on PATH",
    },
];

/// The value of a variable, when it is set, not empty and readable as text.
pub(crate) fn lookup(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "this is the place where the environment is read")]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The whole environment, for programs that are started.
pub(crate) fn all() -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
    #[expect(clippy::disallowed_methods, reason = "this is the place where the environment is read")]
    std::env::vars_os().collect()
}

/// The program's own cache folder.
pub(crate) fn cache() -> PathBuf {
    lookup("SIGHTLINE_CACHE")
        .map(Into::into)
        .or_else(|| below("XDG_CACHE_HOME", "sightline"))
        .or_else(|| below("HOME", ".cache/sightline"))
        .unwrap_or_else(|| ".sightline-cache".into())
}

/// The folder of installed libraries.
pub(crate) fn libraries() -> PathBuf {
    let data = lookup("SIGHTLINE_DATA")
        .map(PathBuf::from)
        .or_else(|| below("XDG_DATA_HOME", "sightline"))
        .or_else(|| below("HOME", ".local/share/sightline"))
        .unwrap_or_else(|| ".sightline-data".into());
    data.join("runtime")
}

/// A folder below the one that a variable names.
fn below(variable: &str, folder: &str) -> Option<PathBuf> {
    lookup(variable).map(|base| Path::new(&base).join(folder))
}

/// The table for `--help`.
pub(crate) fn help() -> String {
    let mut text = String::from("Environment:\n");
    for Variable { name, effect } in VARIABLES {
        let _ = writeln!(text, "  {name:<24} {effect}");
    }
    text
}

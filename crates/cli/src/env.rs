//! The only place that reads the environment. Every variable is named here once; `sightline --help` lists them.

use std::fmt::Write as _;

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
        name: "SIGHTLINE_CACHE",
        effect: "folder of the environment that `--exporter python` installs (~/.cache/sightline, also by XDG_CACHE_HOME)",
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
pub(crate) fn cache() -> std::path::PathBuf {
    let below =
        |variable, folder: &str| lookup(variable).map(|base| std::path::Path::new(&base).join(folder));
    lookup("SIGHTLINE_CACHE")
        .map(Into::into)
        .or_else(|| below("XDG_CACHE_HOME", "sightline"))
        .or_else(|| below("HOME", ".cache/sightline"))
        .unwrap_or_else(|| ".sightline-cache".into())
}

/// The table for `--help`.
pub(crate) fn help() -> String {
    let mut text = String::from("Environment:\n");
    for Variable { name, effect } in VARIABLES {
        let _ = writeln!(text, "  {name:<24} {effect}");
    }
    text
}

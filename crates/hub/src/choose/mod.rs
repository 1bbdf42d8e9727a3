//! Which files of a listing make a model: pure, names and sizes in, a choice out.
//!
//! Category A is an ONNX at the root or in `onnx/`; B is weights only; C is nothing usable, an error that says what
//! the listing holds. Files of other folders are never guessed at: they are named in the error, and can be given by
//! their own address.

mod companions;
mod listing;
mod nothing;
mod onnx;
mod variant;
mod weights;

use serde::{Deserialize, Serialize};

pub use listing::{Digest, Entry, Listing};
pub use variant::{Variant, VariantPreference};
pub use weights::WeightsFormat;

use crate::error::{Error, Result};
use crate::source::RepoPath;

/// What kind of model was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Category A: a graph.
    Onnx(Variant),
    /// Category B: a checkpoint that has to be exported.
    Weights(WeightsFormat),
}

/// One file that could have been taken, and why it stands where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its path.
    pub path: RepoPath,
    /// Its length in bytes, where known.
    pub size: Option<u64>,
    /// What it is.
    pub kind: Kind,
    /// Whether it was taken.
    pub chosen: bool,
    /// Why, or why not.
    pub reason: String,
}

/// The files to fetch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The graph, the checkpoint, or the index of a sharded checkpoint.
    pub main: RepoPath,
    /// What it is.
    pub kind: Kind,
    /// Files that belong to the main one by their names: shards, external data. What is written inside the main
    /// file counts more than these names.
    pub parts: Vec<RepoPath>,
    /// Configuration, labels, licence.
    pub companions: Vec<RepoPath>,
    /// Every candidate, best first.
    pub candidates: Vec<Candidate>,
    /// The decision in words.
    pub log: Vec<String>,
}

/// Chooses the files of `listing` below `within` (a folder, or the one file that is meant).
///
/// `source_name` only goes into errors.
pub fn choose(
    listing: &Listing,
    within: Option<&RepoPath>,
    preference: &VariantPreference,
    source_name: &str,
) -> Result<Choice> {
    let entries = &listing.entries;
    let mut root = String::new();
    let mut preference = preference.clone();
    if let Some(path) = within {
        if let Some(file) = listing.get(path.as_str()) {
            // One file was named: its folder is the root, or the folder above a graph in `onnx/`.
            above_onnx(file.path.folder().unwrap_or_default()).clone_into(&mut root);
            preference = VariantPreference::File(file.path.clone());
        } else if entries.iter().any(|entry| entry.path.strip_folder(path.as_str()).is_some()) {
            path.as_str().clone_into(&mut root);
        } else {
            return Err(Error::FileNotFound { repo: source_name.to_owned(), path: path.to_string() });
        }
    }

    let graphs = onnx::candidates(entries, &root, &preference);
    let checkpoints = weights::candidates(entries, &root);
    let named = match &preference {
        VariantPreference::File(wanted) => Some(find_named(&graphs, &checkpoints, wanted, &root)),
        _ => None,
    };
    let chosen = match named {
        Some(Some(candidate)) => Some(candidate),
        Some(None) => {
            return Err(missing_variant(source_name, &preference, &graphs, &checkpoints, entries, &root));
        }
        None if graphs.is_empty() => checkpoints.first().cloned(),
        None => graphs.iter().find(|candidate| onnx::is_allowed(candidate, &preference)).cloned(),
    };
    let Some(chosen) = chosen else {
        if graphs.is_empty() {
            return Err(nothing::error(listing, &root, source_name));
        }
        return Err(missing_variant(source_name, &preference, &graphs, &checkpoints, entries, &root));
    };
    Ok(assemble(entries, &root, &chosen, graphs, checkpoints, &preference))
}

/// The folder that describes the graphs of a folder: the one above `onnx/`, else itself.
fn above_onnx(folder: &str) -> &str {
    match folder.strip_suffix("onnx") {
        Some(above) if above.is_empty() || above.ends_with('/') => above.trim_end_matches('/'),
        _ => folder,
    }
}

/// The candidate of this path, relative to the root, to the listing, or by file name alone.
fn find_named(
    graphs: &[Candidate],
    checkpoints: &[Candidate],
    wanted: &RepoPath,
    root: &str,
) -> Option<Candidate> {
    let all = || graphs.iter().chain(checkpoints);
    let is_path = |c: &&Candidate| c.path == *wanted || below(&c.path, root) == Some(wanted.as_str());
    all().find(is_path).or_else(|| all().find(|c| c.path.file_name() == wanted.as_str())).cloned()
}

fn missing_variant(
    source_name: &str,
    preference: &VariantPreference,
    graphs: &[Candidate],
    checkpoints: &[Candidate],
    entries: &[Entry],
    root: &str,
) -> Error {
    let wanted = match preference {
        VariantPreference::Variant(variant) => variant.to_string(),
        VariantPreference::File(path) => {
            let is_encrypted = path.extension() == "etlt";
            let there =
                entries.iter().any(|e| e.path == *path || below(&e.path, root) == Some(path.as_str()));
            if is_encrypted && there {
                return nothing::encrypted(path.as_str());
            }
            path.to_string()
        }
        VariantPreference::Fp32First | VariantPreference::Seeds => "any".to_owned(),
    };
    let available = graphs.iter().chain(checkpoints).map(|candidate| candidate.path.to_string()).collect();
    Error::NoSuchVariant { source_name: source_name.to_owned(), wanted, available }
}

fn assemble(
    entries: &[Entry],
    root: &str,
    chosen: &Candidate,
    graphs: Vec<Candidate>,
    checkpoints: Vec<Candidate>,
    preference: &VariantPreference,
) -> Choice {
    let main = chosen.path.clone();
    let parts = match chosen.kind {
        Kind::Onnx(_) => companions::external_data_by_name(entries, &main),
        Kind::Weights(_) => weights::shards(entries, &main),
    };
    let mut candidates: Vec<Candidate> = graphs.into_iter().chain(checkpoints).collect();
    for candidate in &mut candidates {
        candidate.chosen = candidate.path == main;
    }
    let all = candidates.iter().map(|c| c.path.as_str()).collect::<Vec<_>>().join(", ");
    let mut log = vec![match chosen.kind {
        Kind::Onnx(variant) => format!("Selected: {variant} ({main}). All available: [{all}]"),
        Kind::Weights(format) => {
            format!("Selected: {main} ({format}; no ONNX to use). All available: [{all}]")
        }
    }];
    if let (Kind::Weights(_), VariantPreference::Variant(wanted)) = (chosen.kind, preference) {
        log.push(format!("`{wanted}` names an ONNX variant: it says nothing about weights"));
    }
    if let Kind::Onnx(variant) = chosen.kind {
        log.extend(onnx::explanation(variant, preference, &candidates));
    }
    let mut companions = companions::companions(entries, &main, above_onnx(root));
    companions.retain(|path| !parts.contains(path));
    Choice { main, kind: chosen.kind, parts, companions, candidates, log }
}

/// The path below `root` (empty for the top), or `None` where it lies elsewhere.
fn below<'a>(path: &'a RepoPath, root: &str) -> Option<&'a str> {
    if root.is_empty() { Some(path.as_str()) } else { path.strip_folder(root) }
}

#[cfg(test)]
mod tests;

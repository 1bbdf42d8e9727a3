//! Sharded checkpoints: `model.safetensors.index.json` or `pytorch_model.bin.index.json` says which file holds which tensor.
//!
//! The index comes from a stranger: a shard's name must be a plain file name beside the index, and what the index says
//! must be what the shards hold.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::Checkpoint;
use crate::{Error, Files};

/// Shards of one checkpoint that are believed.
const MOST_SHARDS: usize = 10_000;

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Reads all shards that `bytes`, the content of `file`, lists.
pub(super) fn read(files: &dyn Files, file: &str, bytes: &[u8]) -> Result<Checkpoint, Error> {
    let index: Index = serde_json::from_slice(bytes).map_err(|cause| Error::damaged(file, cause))?;
    let shards: BTreeSet<&str> = index.weight_map.values().map(String::as_str).collect();
    if shards.is_empty() || shards.len() > MOST_SHARDS {
        return Err(Error::damaged(file, format!("it lists {} shards", shards.len())));
    }
    let mut checkpoint = Checkpoint::default();
    let mut home: BTreeMap<String, &str> = BTreeMap::new();
    for shard in shards {
        if !is_plain(shard) {
            return Err(Error::damaged(file, format!("shard `{shard}` is not a plain file name")));
        }
        let content = files.read(shard)?;
        let before = checkpoint.tensors.len();
        checkpoint.add(shard, &content, true)?;
        home.extend(checkpoint.tensors.keys().skip(before).map(|name| (name.clone(), shard)));
    }
    for (name, shard) in &index.weight_map {
        match home.get(name) {
            None => {
                return Err(Error::damaged(shard, format!("`{name}`, listed in `{file}`, is not in it")));
            }
            Some(actual) if actual != shard => {
                let reason = format!("`{name}` is said to be in `{shard}` and is in `{actual}`");
                return Err(Error::damaged(file, reason));
            }
            Some(_) => {}
        }
    }
    if let Some(name) = checkpoint.tensors.keys().find(|name| !index.weight_map.contains_key(*name)) {
        let shard = home.get(name).copied().unwrap_or_default();
        return Err(Error::damaged(file, format!("`{name}` of `{shard}` is not listed")));
    }
    Ok(checkpoint)
}

/// Whether the name is one file beside the index.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.len() <= 255
        && [".safetensors", ".bin"].iter().any(|extension| name.ends_with(extension))
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

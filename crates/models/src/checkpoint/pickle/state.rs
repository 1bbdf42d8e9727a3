//! Which of a document's tensors are the weights, and what they are called.
//!
//! Training programs put the weights into dictionaries of their own (`{"model": …, "optimizer": …}`), and whole networks
//! are saved as trees of modules. What is taken is decided by structure: the averaged weights before the trained ones, as
//! those who publish them evaluate them.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::document::{Document, Node};
use super::object::{Id, Object};
use crate::Error;
use crate::checkpoint::{Checkpoint, Stored, TensorFacts};

/// Nesting in which tensors are looked for.
const DEEPEST: usize = 64;
/// Longest name of a tensor.
const LONGEST_NAME: usize = 512;
/// Nesting of sections.
const DEEPEST_SECTION: usize = 8;
/// Most tensors.
const MOST_TENSORS: usize = 200_000;
/// Most objects that are looked at for tensors.
const MOST_VISITS: usize = 1_000_000;
/// Keys of training programs below which weights lie, the preferred ones first.
const SECTIONS: &[&str] = &[
    "ema",
    "ema_state_dict",
    "state_dict_ema",
    "model_ema",
    "params_ema",
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "net",
    "network",
    "params",
    "weights",
];
/// What wrappers put before the name of every tensor.
const WRAPPERS: &[&str] = &["module.", "_orig_mod."];
/// Metadata key of the section that was taken.
const SECTION_KEY: &str = "section";

/// A walk over everything below an object, as names and tensors.
struct Walk<'a> {
    path: String,
    /// The objects on the way, so that one that contains itself ends.
    way: Vec<Id>,
    visits: usize,
    /// Whether the limits left something out.
    is_cut: bool,
    found: Vec<(String, Node<'a>)>,
    /// Whether lists and unknown attributes are looked into.
    everywhere: bool,
}

/// Every tensor of the document under the way to it, for people; what the limits do not admit is left out.
pub(super) fn listed(document: &Document) -> Vec<TensorFacts> {
    let mut walk = Walk::new(true);
    walk.visit(document.root());
    let facts = |(name, node): (String, Node<'_>)| {
        let view = node.view()?;
        Some(TensorFacts {
            name: if name.is_empty() { "tensor".to_owned() } else { name },
            dtype: view.dtype.name.to_owned(),
            shape: view.shape.clone(),
            bytes: view.bytes(),
        })
    };
    walk.found.into_iter().filter_map(facts).collect()
}

/// Adds the weights of the document to `checkpoint`; those of a shard are taken as they are.
pub(super) fn read(document: &Document, is_shard: bool, checkpoint: &mut Checkpoint) -> Result<(), Error> {
    let (node, section) = if is_shard { (document.root(), String::new()) } else { weights(document.root()) };
    let mut tensors = below(document, node)?;
    if !is_shard {
        unwrap(&mut tensors);
        if !section.is_empty() {
            checkpoint.metadata.insert(SECTION_KEY.into(), section);
        }
    }
    let file = document.file();
    if tensors.is_empty() {
        return Err(Error::damaged(file, "it holds no tensors by name"));
    }
    for (name, stored) in tensors {
        if checkpoint.tensors.insert(name.clone(), stored).is_some() {
            return Err(Error::damaged(file, format!("`{name}` is already in another file")));
        }
    }
    checkpoint.files.push(file.to_owned());
    Ok(())
}

/// The tensors below a module or a dictionary, by the names that `state_dict` gives them.
pub(crate) fn below(document: &Document, node: Node<'_>) -> Result<IndexMap<String, Stored>, Error> {
    let mut walk = Walk::new(false);
    walk.visit(node);
    if walk.is_cut {
        return Err(Error::damaged(
            document.file(),
            "its tensors are more, or nested deeper, than a checkpoint has",
        ));
    }
    let mut tensors = IndexMap::new();
    for (name, node) in walk.found {
        let Some(view) = node.view().filter(|_| !name.is_empty()) else { continue };
        let tensor = node.tensor().map_err(|error| match error {
            Error::Damaged { file, reason } => Error::Damaged { file, reason: format!("`{name}`: {reason}") },
            other => other,
        })?;
        let stored = Stored {
            dtype: view.dtype.name.to_owned(),
            shape: view.shape.clone(),
            bytes: usize::try_from(view.bytes()).unwrap_or(usize::MAX),
            tensor,
        };
        // As in Python, a key that is set again keeps its place.
        tensors.insert(name, stored);
    }
    Ok(tensors)
}

/// The object that holds the weights, and the way to it.
fn weights(root: Node<'_>) -> (Node<'_>, String) {
    let mut search = Search { way: Vec::new(), seen: BTreeSet::new(), visits: 0 };
    search.find(root).unwrap_or((root, String::new()))
}

/// A search for the weights among the sections of a training program.
struct Search {
    way: Vec<&'static str>,
    seen: BTreeSet<Id>,
    visits: usize,
}

impl Search {
    fn find<'a>(&mut self, node: Node<'a>) -> Option<(Node<'a>, String)> {
        if self.way.len() >= DEEPEST_SECTION || !self.seen.insert(node.id()) {
            return None;
        }
        if is_module(node) {
            return Some((node, self.way.join(".")));
        }
        let is_named_tensor =
            |(key, value): &(Node<'_>, Node<'_>)| key.as_text().is_some() && value.view().is_some();
        let direct = node.entries().filter(is_named_tensor).count();
        for section in SECTIONS {
            let Some(inner) = node.get(section) else { continue };
            self.way.push(section);
            let found = self.find(inner);
            self.way.pop();
            // A network may have a part of such a name; then most of its tensors lie beside it.
            if let Some((inner, way)) = found
                && (direct == 0 || self.size(inner) > direct)
            {
                return Some((inner, way));
            }
        }
        let nested =
            || node.entries().any(|(_, value)| value.entries().any(|(_, inner)| inner.view().is_some()));
        (direct > 0 || (!self.way.is_empty() && nested())).then(|| (node, self.way.join(".")))
    }

    /// How many tensors lie below.
    fn size(&mut self, node: Node<'_>) -> usize {
        let mut walk = Walk::new(false);
        walk.visits = self.visits;
        walk.visit(node);
        self.visits = walk.visits;
        walk.found.len()
    }
}

/// Whether the object is a network or a part of one.
fn is_module(node: Node<'_>) -> bool {
    matches!(node.object(), Object::Instance(_))
        && (node.get("_modules").is_some() || node.get("_parameters").is_some())
}

/// Takes away what a wrapper put before every name.
fn unwrap(tensors: &mut IndexMap<String, Stored>) {
    while let Some(prefix) = WRAPPERS
        .iter()
        .find(|prefix| tensors.keys().all(|name| name.len() > prefix.len() && name.starts_with(*prefix)))
    {
        if tensors.is_empty() {
            return;
        }
        *tensors =
            tensors.drain(..).map(|(name, stored)| (name[prefix.len()..].to_owned(), stored)).collect();
    }
}

impl<'a> Walk<'a> {
    fn new(everywhere: bool) -> Self {
        Self { path: String::new(), way: Vec::new(), visits: 0, is_cut: false, found: Vec::new(), everywhere }
    }

    fn visit(&mut self, node: Node<'a>) {
        self.visits += 1;
        if self.visits >= MOST_VISITS
            || self.found.len() >= MOST_TENSORS
            || self.way.len() > DEEPEST
            || self.path.len() > LONGEST_NAME
        {
            self.is_cut = true;
            return;
        }
        if node.view().is_some() {
            self.found.push((self.path.clone(), node));
            return;
        }
        if self.way.contains(&node.id()) {
            return;
        }
        self.way.push(node.id());
        self.inside(node);
        self.way.pop();
    }

    fn inside(&mut self, node: Node<'a>) {
        // Attributes are looked up one by one.
        self.visits += node.state().map_or(0, |state| state.entries().len());
        if is_module(node) {
            self.module(node);
            return;
        }
        if let Some(state) = node.state().filter(|_| self.everywhere) {
            self.visit(state);
        }
        if self.everywhere {
            for (at, item) in node.items().enumerate() {
                self.named(&at.to_string(), item);
            }
        }
        for (key, value) in node.entries() {
            match (key.as_text(), key.as_int()) {
                (Some("state_dict"), _) if self.everywhere => self.visit(value),
                (Some(key), _) => self.named(key, value),
                (None, Some(key)) => self.named(&key.to_string(), value),
                _ => {}
            }
            if self.visits >= MOST_VISITS {
                self.is_cut = true;
                return;
            }
        }
    }

    /// The tensors of a network in the order of its `state_dict`.
    fn module(&mut self, node: Node<'a>) {
        let passing: Vec<Node<'a>> =
            node.get("_non_persistent_buffers_set").into_iter().flat_map(Node::items).collect();
        for part in ["_parameters", "_buffers", "_modules"] {
            for (key, value) in node.get(part).into_iter().flat_map(Node::entries) {
                let Some(name) = key.as_text() else { continue };
                if part == "_buffers" && !self.everywhere {
                    self.visits += passing.len();
                    if passing.iter().any(|item| item.as_text() == Some(name)) {
                        continue;
                    }
                }
                if self.visits >= MOST_VISITS {
                    self.is_cut = true;
                    return;
                }
                self.named(name, value);
            }
        }
    }

    fn named(&mut self, name: &str, node: Node<'a>) {
        let before = self.path.len();
        if name.len() > LONGEST_NAME {
            self.is_cut = true;
            return;
        }
        if before > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        self.visit(node);
        self.path.truncate(before);
    }
}

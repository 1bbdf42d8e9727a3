//! The checkpoint as an exporter sees it: tensors by module path, each of them accounted for.
//!
//! [`Weights::tensor`] never fails: a missing or misshapen tensor is remembered and replaced by zeros, so that
//! [`Weights::finish`] can tell *all* that does not fit, at once. The zeros never leave: `finish` fails.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;
use graph::{Builder, DataType, Tensor, Value};

use crate::checkpoint::Stored;
use crate::{Checkpoint, Error, error::Mismatch};

/// One rule of how a tensor's name on disk becomes the name that an exporter uses.
///
/// The names on disk differ between generations of the library that wrote them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rename {
    /// Segments to find, `#` stands for any number.
    pub(crate) from: &'static str,
    /// What takes their place; every `#` is the number found in its turn.
    pub(crate) to: &'static str,
    /// Whether `from` stands at the beginning of the name only.
    pub(crate) anchored: bool,
}

impl Rename {
    fn apply(self, name: &str) -> Option<String> {
        let segments: Vec<&str> = name.split('.').collect();
        let pattern: Vec<&str> = self.from.split('.').collect();
        let places = if self.anchored { 0..1 } else { 0..segments.len() };
        let fits = |at: usize| {
            let window = segments.get(at..at + pattern.len())?;
            let mut numbers = Vec::new();
            for (segment, wanted) in window.iter().zip(&pattern) {
                match *wanted {
                    "#" if segment.bytes().all(|byte| byte.is_ascii_digit()) => numbers.push(*segment),
                    wanted if wanted == *segment => {}
                    _ => return None,
                }
            }
            Some((at, numbers))
        };
        let (at, numbers) = places.into_iter().find_map(fits)?;
        let mut numbers = numbers.into_iter();
        let replaced = self.to.split('.').map(|part| match part {
            "#" => numbers.next().unwrap_or("#"),
            part => part,
        });
        let renamed: Vec<&str> = segments[..at]
            .iter()
            .copied()
            .chain(replaced)
            .chain(segments[at + pattern.len()..].iter().copied())
            .collect();
        Some(renamed.join("."))
    }
}

/// The tensors below one module of the checkpoint.
#[derive(Clone)]
pub(crate) struct Weights {
    root: Rc<Root>,
    path: String,
}

struct Root {
    tensors: BTreeMap<String, Entry>,
    exact: bool,
    used: RefCell<BTreeSet<String>>,
    missing: RefCell<BTreeSet<String>>,
    shared: RefCell<BTreeMap<String, Value>>,
    ignored: RefCell<BTreeSet<String>>,
    mismatch: RefCell<Mismatch>,
}

struct Entry {
    /// The name on disk, for people.
    on_disk: String,
    stored: Stored,
}

impl Weights {
    /// All tensors of `checkpoint` under the names that `renames` gives them. With `exact`, layers keep the operations
    /// of the original model one by one.
    ///
    /// # Errors
    /// [`Error::Weights`] when two different tensors get the same name.
    pub(crate) fn new(checkpoint: &Checkpoint, renames: &[Rename], exact: bool) -> Result<Self, Error> {
        let mut tensors: BTreeMap<String, Entry> = BTreeMap::new();
        let mut mismatch = Mismatch::default();
        for (on_disk, stored) in checkpoint.tensors() {
            let mut name = on_disk.to_owned();
            for rename in renames {
                if let Some(renamed) = rename.apply(&name) {
                    name = renamed;
                }
            }
            match tensors.get(&name) {
                // Tied modules may be written under both of their names.
                Some(other) if other.stored.tensor == stored.tensor && stored.tensor.is_some() => {}
                Some(other) => {
                    let reason = format!("is also `{}`, with other values", other.on_disk);
                    mismatch.unusable.push((on_disk.to_owned(), reason));
                }
                None => {
                    tensors.insert(name, Entry { on_disk: on_disk.to_owned(), stored: stored.clone() });
                }
            }
        }
        if !mismatch.is_empty() {
            return Err(Error::Weights(Box::new(mismatch)));
        }
        let root = Root {
            tensors,
            exact,
            used: RefCell::default(),
            missing: RefCell::default(),
            shared: RefCell::default(),
            ignored: RefCell::default(),
            mismatch: RefCell::default(),
        };
        Ok(Self { root: Rc::new(root), path: String::new() })
    }

    /// Whether layers have to keep the operations of the original model one by one.
    pub(crate) fn exact(&self) -> bool {
        self.root.exact
    }

    /// The tensors below a module of this one.
    pub(crate) fn child(&self, name: &str) -> Self {
        Self { root: Rc::clone(&self.root), path: self.full(name) }
    }

    /// The tensors below a module, and the builder's scope of the same name.
    pub(crate) fn scope<T>(
        &self,
        b: &mut Builder,
        name: &str,
        build: impl FnOnce(&mut Builder, &Self) -> T,
    ) -> T {
        let child = self.child(name);
        b.scoped(name, |b| build(b, &child))
    }

    /// The name of the module.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The full name of a tensor of this module.
    pub(crate) fn full(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The dimensions of a tensor, without using it.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(&self.root.tensors.get(&self.full(name))?.stored.shape)
    }

    /// The name of member `at` of a list of `count` modules; where they are one module, stored under the name of any of
    /// them, that one's. `tensor` is one that each has.
    pub(crate) fn member(&self, list: &str, at: usize, count: usize, tensor: &str) -> String {
        let stored = |at: &usize| self.child(&format!("{list}.{at}")).shape(tensor).is_some();
        let found = [at].into_iter().chain(0..count).find(stored);
        format!("{list}.{}", found.unwrap_or(at))
    }

    /// The tensor of this name, which must have this shape, as stored: `float32`, `float16` or `bfloat16`.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Tensor {
        let full = self.full(name);
        let Some(entry) = self.root.tensors.get(&full) else {
            self.root.missing.borrow_mut().insert(full);
            return zeros(shape);
        };
        self.root.used.borrow_mut().insert(full);
        let stored = &entry.stored;
        if stored.shape != shape {
            let difference = (entry.on_disk.clone(), shape.to_vec(), stored.shape.clone());
            self.root.mismatch.borrow_mut().shapes.push(difference);
            return zeros(shape);
        }
        let usable = [DataType::F32, DataType::F16, DataType::Bf16];
        match &stored.tensor {
            Some(tensor) if usable.contains(&tensor.dtype()) => tensor.clone(),
            _ => {
                let reason = format!("element type `{}` cannot be exported", stored.dtype);
                self.root.mismatch.borrow_mut().unusable.push((entry.on_disk.clone(), reason));
                zeros(shape)
            }
        }
    }

    /// The constant of this name in the graph; made at its first use, shared by a module that is used again.
    pub(crate) fn constant(
        &self,
        b: &mut Builder,
        name: &str,
        shape: &[usize],
        convert: impl FnOnce(Tensor) -> Tensor,
    ) -> Value {
        let full = self.full(name);
        if let Some(value) = self.root.shared.borrow().get(&full) {
            return value.clone();
        }
        let value = b.weight(&full, convert(self.tensor(name, shape)));
        self.root.shared.borrow_mut().insert(full, value.clone());
        value
    }

    /// Names tensors that the graph does not need: every tensor of the checkpoint for which `which` holds.
    pub(crate) fn ignore(&self, which: impl Fn(&str) -> bool) {
        let names = self.root.tensors.keys().filter(|name| which(name)).cloned();
        self.root.ignored.borrow_mut().extend(names);
    }

    /// The names on disk of the tensors that were ignored.
    ///
    /// # Errors
    /// [`Error::Weights`] with everything that is missing, of another shape or neither used nor ignored.
    pub(crate) fn finish(&self) -> Result<Vec<String>, Error> {
        let mut mismatch = self.root.mismatch.borrow().clone();
        mismatch.missing = self.root.missing.borrow().iter().cloned().collect();
        let (used, ignored) = (self.root.used.borrow(), self.root.ignored.borrow());
        let mut leftovers = Vec::new();
        for (name, entry) in self.root.tensors.iter().filter(|(name, _)| !used.contains(*name)) {
            if ignored.contains(name) {
                leftovers.push(entry.on_disk.clone());
            } else {
                mismatch.unused.push(entry.on_disk.clone());
            }
        }
        if mismatch.is_empty() { Ok(leftovers) } else { Err(Error::Weights(Box::new(mismatch))) }
    }
}

/// A stand-in that takes no memory; it is never written because [`Weights::finish`] fails first.
fn zeros(shape: &[usize]) -> Tensor {
    let length = shape.iter().fold(4_usize, |length, size| length.saturating_mul(*size));
    Tensor::deferred(DataType::F32, shape, move || Bytes::from(vec![0; length]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renames_find_segments_not_letters() {
        let rename = |from, to, anchored| Rename { from, to, anchored };
        let cases = [
            (rename("out_proj", "o_proj", false), "a.out_proj.weight", Some("a.o_proj.weight")),
            (rename("out_proj", "o_proj", false), "a.my_out_proj.weight", None),
            (
                rename("layers.#.fc1", "layers.#.mlp.fc1", false),
                "d.layers.12.fc1.bias",
                Some("d.layers.12.mlp.fc1.bias"),
            ),
            (rename("layers.#.fc1", "layers.#.mlp.fc1", false), "d.layers.x.fc1.bias", None),
            (
                rename("class_embed", "model.decoder.class_embed", true),
                "class_embed.0.bias",
                Some("model.decoder.class_embed.0.bias"),
            ),
            (rename("class_embed", "model.decoder.class_embed", true), "model.class_embed.0.bias", None),
            (rename("a.b.c", "x", false), "b.c", None),
        ];
        for (rename, name, expected) in cases {
            assert_eq!(rename.apply(name).as_deref(), expected, "{name}");
        }
    }
}

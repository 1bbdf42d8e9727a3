//! The plain values that a pickle builds, in one table; objects refer to each other by number, so a cycle is no problem.

use std::collections::BTreeSet;

/// Most objects of one program.
const MOST: usize = 4_000_000;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Object {
    None,
    Bool(bool),
    Int(i128),
    Float,
    Text(String),
    Bytes,
    Tuple(Vec<usize>),
    List(Vec<usize>),
    Dict(Vec<(usize, usize)>),
    /// A class or function, by its name only.
    Global(String),
    /// What an unknown class or function would have made.
    Opaque {
        state: Option<usize>,
    },
    /// Where a tensor's elements lie.
    Storage {
        dtype: &'static str,
        width: u64,
    },
    Tensor {
        dtype: String,
        shape: Vec<usize>,
        bytes: u64,
    },
}

/// All objects of a program.
#[derive(Debug, Default)]
pub(super) struct Objects {
    table: Vec<Object>,
    globals: BTreeSet<String>,
}

impl Objects {
    pub(super) fn add(&mut self, object: Object) -> Result<usize, String> {
        if self.table.len() >= MOST {
            return Err(format!("it makes more than {MOST} objects"));
        }
        self.table.push(object);
        Ok(self.table.len() - 1)
    }

    /// The object of a number that [`Objects::add`] gave.
    pub(super) fn get(&self, id: usize) -> &Object {
        self.table.get(id).unwrap_or(&Object::None)
    }

    pub(super) fn get_mut(&mut self, id: usize) -> Option<&mut Object> {
        self.table.get_mut(id)
    }

    pub(super) fn name_global(&mut self, name: &str) {
        self.globals.insert(name.to_owned());
    }

    /// The classes and functions that loading the file would import.
    pub(super) fn globals(&self) -> impl Iterator<Item = &String> {
        self.globals.iter()
    }

    pub(super) fn text(&self, id: usize) -> Option<&str> {
        match self.get(id) {
            Object::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items of a tuple or list.
    pub(super) fn items(&self, id: usize) -> &[usize] {
        match self.get(id) {
            Object::Tuple(items) | Object::List(items) => items,
            _ => &[],
        }
    }

    /// The items as sizes; more than 64 dimensions are none.
    pub(super) fn sizes(&self, id: usize) -> Option<Vec<usize>> {
        let size = |id: &usize| match self.get(*id) {
            Object::Int(size) => usize::try_from(*size).ok(),
            _ => None,
        };
        Some(self.items(id)).filter(|items| items.len() <= 64)?.iter().map(size).collect()
    }
}

/// Element type by the storage class of PyTorch: name in safetensors, bytes.
pub(super) fn storage_type(class: &str) -> Option<(&'static str, u64)> {
    let class = class.strip_prefix("torch.")?;
    Some(match class.strip_prefix("cuda.").unwrap_or(class) {
        "FloatStorage" => ("F32", 4),
        "HalfStorage" => ("F16", 2),
        "BFloat16Storage" => ("BF16", 2),
        "DoubleStorage" => ("F64", 8),
        "LongStorage" => ("I64", 8),
        "IntStorage" => ("I32", 4),
        "ShortStorage" => ("I16", 2),
        "CharStorage" => ("I8", 1),
        "ByteStorage" | "storage.UntypedStorage" => ("U8", 1),
        "BoolStorage" => ("BOOL", 1),
        _ => return None,
    })
}

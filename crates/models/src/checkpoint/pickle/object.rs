//! The plain values that a pickle builds, in one table; objects refer to each other by number, so that a cycle is no
//! problem and nothing deep is ever dropped.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

/// Most objects of one program.
const MOST: usize = 4_000_000;
/// Most work of one program: steps, bytes of texts, items that are copied (each is eight).
const MOST_WORK: u64 = 1 << 27;
/// Longest name of a class or function that is kept.
const LONGEST_NAME: usize = 200;

/// The number of an object in its document; the same object has one number, wherever it is referred to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id(u32);

/// A value.
#[derive(Debug, Clone)]
pub(crate) enum Object {
    None,
    Bool(bool),
    Int(i128),
    /// An integer of more than 128 bits; nothing needs its value.
    Long,
    Float(f64),
    Text(Arc<str>),
    Bytes(Bytes),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Set(Vec<Id>),
    /// Keys and values in the order in which they were set; of the same key the last counts.
    Dict(Vec<(Id, Id)>),
    /// A class or function, by its name only.
    Global(Arc<str>),
    /// Where tensors' elements lie.
    Storage(Box<Storage>),
    Tensor(Box<View>),
    /// What a class or function would have made.
    Instance(Box<Instance>),
}

/// What is known of an object of a class that is not one of the plain values.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    /// The class, or the function that was to be called.
    pub(crate) class: Arc<str>,
    /// A tuple.
    pub(crate) arguments: Id,
    /// What is put into it afterwards: for most classes the dictionary of its attributes.
    pub(crate) state: Option<Id>,
}

/// A sequence of elements of one type.
#[derive(Debug, Clone)]
pub(crate) struct Storage {
    pub(crate) dtype: ElementType,
    /// The number of elements of all that lies at `place`.
    pub(crate) whole: u64,
    /// The first element that belongs to it.
    pub(crate) start: u64,
    /// The number of elements that belong to it.
    pub(crate) elements: u64,
    pub(crate) place: Place,
}

/// Where the bytes of a storage are.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// In the container, under this name.
    Container(Arc<str>),
    /// In the program itself.
    Program(Bytes),
}

/// An element type by its name in safetensors, and its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ElementType {
    pub(crate) name: &'static str,
    pub(crate) width: u64,
}

/// A tensor: some elements of a storage. The bounds are checked when it is made.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) storage: Id,
    pub(crate) dtype: ElementType,
    pub(crate) offset: u64,
    pub(crate) shape: Vec<usize>,
    pub(crate) strides: Vec<u64>,
}

impl View {
    /// The bytes that the elements take, one after the other.
    pub(crate) fn bytes(&self) -> u64 {
        self.shape.iter().fold(self.dtype.width, |bytes, size| bytes.saturating_mul(*size as u64))
    }

    /// Whether the elements lie one after the other, the last dimension's beside each other.
    pub(crate) fn is_contiguous(&self) -> bool {
        let mut expected = 1_u64;
        for (size, stride) in self.shape.iter().zip(&self.strides).rev() {
            if *size == 0 {
                return true;
            }
            if *size > 1 && *stride != expected {
                return false;
            }
            expected = expected.saturating_mul(*size as u64);
        }
        true
    }
}

/// All objects of a program.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    table: Vec<Object>,
    globals: BTreeSet<String>,
    work: u64,
}

impl Objects {
    pub(super) fn add(&mut self, object: Object) -> Result<Id, String> {
        if self.table.len() >= MOST {
            return Err(format!("it makes more than {MOST} objects"));
        }
        self.table.push(object);
        Ok(Id(self.table.len() as u32 - 1))
    }

    /// Accounts for work, so that a short program cannot ask for much of it.
    pub(super) fn spend(&mut self, work: usize) -> Result<(), String> {
        self.work = self.work.saturating_add(work as u64);
        if self.work > MOST_WORK { Err("it asks for more work than weights need".into()) } else { Ok(()) }
    }

    /// The object of a number that [`Objects::add`] gave.
    pub(crate) fn get(&self, id: Id) -> &Object {
        self.table.get(id.0 as usize).unwrap_or(&Object::None)
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Object> {
        self.table.get_mut(id.0 as usize)
    }

    pub(super) fn all(&self) -> &[Object] {
        &self.table
    }

    pub(super) fn name_global(&mut self, name: &str) {
        // The name is shown to people: nothing in it may steer their terminal.
        let shown = name.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c });
        self.globals.insert(shown.take(LONGEST_NAME).collect());
    }

    /// The classes and functions that loading the file would import.
    pub(crate) fn globals(&self) -> impl Iterator<Item = &String> {
        self.globals.iter()
    }

    pub(super) fn text(&self, id: Id) -> Option<&Arc<str>> {
        match self.get(id) {
            Object::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items of a tuple, list or set.
    pub(super) fn items(&self, id: Id) -> &[Id] {
        match self.get(id) {
            Object::Tuple(items) | Object::List(items) | Object::Set(items) => items,
            _ => &[],
        }
    }

    pub(super) fn count(&self, id: Id) -> Option<u64> {
        match self.get(id) {
            Object::Int(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The items as sizes; more than 64 dimensions are none.
    pub(super) fn sizes(&self, id: Id) -> Option<Vec<u64>> {
        let items = match self.get(id) {
            Object::Tuple(items) | Object::List(items) if items.len() <= 64 => items,
            _ => return None,
        };
        items.iter().map(|item| self.count(*item)).collect()
    }
}

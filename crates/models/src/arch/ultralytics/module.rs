//! The pickled network as a tree of modules: their classes and what they remember besides their tensors.
//!
//! The tensors lie in the checkpoint under the names of the same tree. Everything here was read from a file that nobody
//! vouches for: a number that is not there, or is out of bounds, is an error that names the module.

use std::collections::BTreeMap;

use graph::{Builder, Tensor, Value};

use super::registry;
use crate::Error;
use crate::weights::Weights;

/// Largest kernel, stride, padding, number of heads … that a module may ask for.
const LARGEST: usize = 1 << 20;

/// A module: `torch.nn.Module` with its attributes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Module {
    /// The class with its path: `ultralytics.nn.modules.conv.Conv`.
    pub(super) class: String,
    /// Its plain attributes.
    pub(super) facts: BTreeMap<String, Fact>,
    /// The modules in it, in order.
    pub(super) children: Vec<(String, Module)>,
}

/// A plain attribute.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fact {
    None,
    Flag(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Fact>),
    Tensor(Tensor),
}

impl Fact {
    pub(super) fn int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn float(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// One number, or a list of them, as sizes within bounds.
    fn sizes(&self) -> Option<Vec<usize>> {
        let size = |fact: &Self| usize::try_from(fact.int()?).ok().filter(|size| *size <= LARGEST);
        match self {
            Self::List(items) => items.iter().map(size).collect(),
            one => Some(vec![size(one)?]),
        }
    }
}

impl Module {
    /// The class without its path when it is one of the two libraries' own, else the class as it stands.
    pub(super) fn kind(&self) -> &str {
        let theirs = ["ultralytics.nn.", "torch.nn."].iter().any(|path| self.class.starts_with(path));
        let name = self.class.rsplit('.').next();
        name.filter(|_| theirs).unwrap_or(&self.class)
    }

    pub(super) fn child(&self, name: &str) -> Option<&Module> {
        self.children.iter().find(|(own, _)| own == name).map(|(_, module)| module)
    }
}

/// A module at its place in the network, with its tensors.
#[derive(Clone)]
pub(super) struct Layer<'a> {
    /// The file, for errors.
    pub(super) file: &'a str,
    pub(super) module: &'a Module,
    pub(super) w: Weights,
}

impl<'a> Layer<'a> {
    pub(super) fn kind(&self) -> &'a str {
        self.module.kind()
    }

    /// The module of this name in this one.
    pub(super) fn child(&self, name: &str) -> Result<Layer<'a>, Error> {
        self.optional(name).ok_or_else(|| self.damaged(&format!("has no `{name}`")))
    }

    /// The module of this name, where there is one.
    pub(super) fn optional(&self, name: &str) -> Option<Layer<'a>> {
        let module = self.module.child(name)?;
        Some(Self { file: self.file, module, w: self.w.child(name) })
    }

    /// The names of the modules in this one, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.module.children.iter().map(|(name, _)| name.as_str())
    }

    /// The module of this name applied to `x`, in a scope of its name.
    pub(super) fn apply(&self, b: &mut Builder, name: &str, x: &Value) -> Result<Value, Error> {
        let child = self.child(name)?;
        b.scoped(name, |b| registry::apply(b, &child, x))
    }

    pub(super) fn fact(&self, key: &str) -> Option<&'a Fact> {
        self.module.facts.get(key).filter(|fact| **fact != Fact::None)
    }

    /// A size that must be there.
    pub(super) fn size(&self, key: &str) -> Result<usize, Error> {
        match self.sizes(key)?[..] {
            [size] => Ok(size),
            _ => Err(self.unusable(key, "one number")),
        }
    }

    /// A size, or the default of the library where the file is too old to say.
    pub(super) fn size_or(&self, key: &str, default: usize) -> Result<usize, Error> {
        if self.fact(key).is_none() { Ok(default) } else { self.size(key) }
    }

    /// The number that divides channels or cells; at least 1.
    pub(super) fn divisor(&self, key: &str) -> Result<usize, Error> {
        self.size(key)
            .and_then(|size| if size == 0 { Err(self.unusable(key, "at least 1")) } else { Ok(size) })
    }

    /// A height and a width, or one number for both.
    pub(super) fn pair(&self, key: &str) -> Result<[usize; 2], Error> {
        match self.sizes(key)?[..] {
            [both] => Ok([both; 2]),
            [height, width] => Ok([height, width]),
            _ => Err(self.unusable(key, "one number or two")),
        }
    }

    /// A list of sizes, or one.
    pub(super) fn sizes(&self, key: &str) -> Result<Vec<usize>, Error> {
        let fact = self.fact(key).ok_or_else(|| self.damaged(&format!("does not say its `{key}`")))?;
        fact.sizes().ok_or_else(|| self.unusable(key, &format!("numbers from 0 to {LARGEST}")))
    }

    pub(super) fn flag_or(&self, key: &str, default: bool) -> bool {
        match self.fact(key) {
            Some(Fact::Flag(flag)) => *flag,
            Some(Fact::Int(number)) => *number != 0,
            _ => default,
        }
    }

    pub(super) fn float_or(&self, key: &str, default: f64) -> f64 {
        self.fact(key).and_then(Fact::float).filter(|number| number.is_finite()).unwrap_or(default)
    }

    /// The elements of a tensor that is neither a parameter nor a buffer.
    pub(super) fn elements(&self, key: &str) -> Option<Vec<f32>> {
        match self.fact(key)? {
            Fact::Tensor(tensor) => tensor.to_f32().ok(),
            _ => None,
        }
    }

    /// Refuses the value that an attribute has.
    pub(super) fn unusable(&self, key: &str, expected: &str) -> Error {
        let value = self.fact(key).map_or_else(|| "absent".to_owned(), describe);
        Error::unsupported(self.file, &self.w.full(key), value, expected)
    }

    /// Refuses the module itself.
    pub(super) fn unsupported(&self, expected: &str) -> Error {
        let value = format!("`{}`", self.kind());
        Error::unsupported(self.file, self.w.path(), value, expected)
    }

    pub(super) fn damaged(&self, reason: &str) -> Error {
        Error::damaged(self.file, format!("`{}` ({}) {reason}", self.w.path(), self.kind()))
    }
}

/// A value for people, never long.
fn describe(fact: &Fact) -> String {
    let text = match fact {
        Fact::Int(number) => number.to_string(),
        Fact::Float(number) => number.to_string(),
        Fact::Text(text) => format!("`{text}`"),
        other => format!("{other:?}"),
    };
    if text.len() > 80 { text.chars().take(80).chain("…".chars()).collect() } else { text }
}

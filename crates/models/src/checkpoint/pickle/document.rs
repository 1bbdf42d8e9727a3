//! A pickle that was followed: a tree of plain values, of tensors that share the file's bytes, and of instances that are
//! kept as data.

use bytes::Bytes;
use graph::Tensor;

use super::archive::Archive;
use super::globals::is_known;
use super::legacy::{self, Storages};
use super::machine::Machine;
use super::object::{Id, Instance, Object, Objects, Place, View};
use super::view;
use crate::{Error, Files};

/// What a file holds. Nothing that it names was imported or called.
#[derive(Debug)]
pub(crate) struct Document {
    file: String,
    objects: Objects,
    root: Id,
    container: Container,
}

#[derive(Debug)]
enum Container {
    Archive(Archive),
    Legacy(Storages),
}

/// An object of a document. The tree may contain itself: whoever walks it has to bound the way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node<'a> {
    document: &'a Document,
    id: Id,
}

impl Document {
    /// The document of a file of the source.
    ///
    /// # Errors
    /// As [`Document::parse`], or the file is not there.
    #[allow(dead_code, reason = "for builders of networks")]
    pub(crate) fn read(files: &dyn Files, file: &str) -> Result<Self, Error> {
        Self::parse(file, &files.read(file)?)
    }

    /// The document of `bytes`, the content of `file`.
    ///
    /// # Errors
    /// [`Error::ForeignCode`] when it names classes or functions besides those of plain values, tensors and networks;
    /// [`Error::Damaged`] when it is no such file, or a program that the limits do not admit.
    pub(crate) fn parse(file: &str, bytes: &Bytes) -> Result<Self, Error> {
        let document = Self::parse_any(file, bytes)?;
        let foreign = document.foreign();
        if foreign.is_empty() {
            Ok(document)
        } else {
            Err(Error::ForeignCode { file: file.to_owned(), names: foreign })
        }
    }

    /// As [`Document::parse`], with instances of any class: they are data all the same.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub(super) fn parse_any(file: &str, bytes: &Bytes) -> Result<Self, Error> {
        let refuse = |reason: String| Error::damaged(file, reason);
        let (objects, root, container) = if bytes.starts_with(b"PK") {
            let archive = Archive::new(bytes).map_err(refuse)?;
            let mut machine = Machine::default();
            let (root, _) = archive.program().and_then(|program| machine.run(program)).map_err(refuse)?;
            (machine.objects, root, Container::Archive(archive))
        } else {
            let (objects, root, storages) = legacy::read(bytes).map_err(refuse)?;
            (objects, root, Container::Legacy(storages))
        };
        Ok(Self { file: file.to_owned(), objects, root, container })
    }

    /// The object that was saved.
    pub(crate) fn root(&self) -> Node<'_> {
        Node { document: self, id: self.root }
    }

    /// The name of the file.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// The classes and functions that loading the file would import, sorted.
    pub(super) fn globals(&self) -> Vec<String> {
        self.objects.globals().cloned().collect()
    }

    /// Those of them that neither plain values, tensors nor networks need.
    pub(super) fn foreign(&self) -> Vec<String> {
        self.objects.globals().filter(|name| !is_known(name)).cloned().collect()
    }

    /// The tensor of a view; `None` when its elements have no counterpart in ONNX.
    fn tensor(&self, view: &View) -> Result<Option<Tensor>, Error> {
        let refuse = |reason: String| Error::damaged(&self.file, reason);
        let Object::Storage(storage) = self.objects.get(view.storage) else {
            return Err(refuse("a tensor has no storage".into()));
        };
        let size = storage.whole.saturating_mul(storage.dtype.width);
        let whole = match (&storage.place, &self.container) {
            (Place::Program(bytes), _) => Ok(bytes.clone()),
            (Place::Container(key), Container::Archive(archive)) => archive.storage(key, size),
            (Place::Container(key), Container::Legacy(storages)) => {
                let known = storages.get(key).filter(|bytes| bytes.len() as u64 == size);
                known.cloned().ok_or_else(|| format!("storage `{key}` is not in the file"))
            }
        };
        whole.and_then(|whole| view::tensor(view, storage, &whole)).map_err(refuse)
    }
}

#[allow(dead_code, reason = "for builders of networks")]
impl<'a> Node<'a> {
    /// The value itself.
    pub(crate) fn object(self) -> &'a Object {
        self.document.objects.get(self.id)
    }

    /// What tells it from other objects: the same object may be found on several ways.
    pub(crate) fn id(self) -> Id {
        self.id
    }

    fn at(self, id: Id) -> Self {
        Self { document: self.document, id }
    }

    /// Whether it is Python's `None`.
    pub(crate) fn is_none(self) -> bool {
        matches!(self.object(), Object::None)
    }

    /// A truth value.
    pub(crate) fn as_bool(self) -> Option<bool> {
        match self.object() {
            Object::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// An integer, also where a program wrote it as a truth value or a whole floating-point number.
    pub(crate) fn as_int(self) -> Option<i64> {
        match self.object() {
            Object::Int(value) => i64::try_from(*value).ok(),
            Object::Bool(value) => Some(i64::from(*value)),
            Object::Float(value) if value.fract() == 0.0 && value.abs() < 2_f64.powi(53) => {
                Some(*value as i64)
            }
            _ => None,
        }
    }

    /// A number.
    pub(crate) fn as_float(self) -> Option<f64> {
        match self.object() {
            Object::Float(value) => Some(*value),
            Object::Int(value) => Some(*value as f64),
            _ => None,
        }
    }

    /// A text.
    pub(crate) fn as_text(self) -> Option<&'a str> {
        match self.object() {
            Object::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items of a list, tuple or set; none for other objects.
    pub(crate) fn items(self) -> impl ExactSizeIterator<Item = Self> + DoubleEndedIterator {
        self.document.objects.items(self.id).iter().map(move |id| self.at(*id))
    }

    /// The entries of a dictionary; none for other objects.
    pub(crate) fn entries(self) -> impl ExactSizeIterator<Item = (Self, Self)> + DoubleEndedIterator {
        let entries: &[(Id, Id)] = match self.object() {
            Object::Dict(entries) => entries,
            _ => &[],
        };
        entries.iter().map(move |(key, value)| (self.at(*key), self.at(*value)))
    }

    /// The value of a text key of a dictionary, or an attribute of an instance; looks at every entry.
    pub(crate) fn get(self, key: &str) -> Option<Self> {
        if let Some(mut attributes) = self.attributes() {
            return attributes.find_map(|attributes| attributes.entry(key));
        }
        self.entry(key)
    }

    fn entry(self, key: &str) -> Option<Self> {
        self.entries().rev().find(|(name, _)| name.as_text() == Some(key)).map(|(_, value)| value)
    }

    fn instance(self) -> Option<&'a Instance> {
        match self.object() {
            Object::Instance(instance) => Some(instance),
            _ => None,
        }
    }

    /// The class of an instance, or the name of a class or function itself: `torch.nn.modules.conv.Conv2d`.
    pub(crate) fn class(self) -> Option<&'a str> {
        match self.object() {
            Object::Global(name) => Some(name),
            _ => self.instance().map(|instance| &*instance.class),
        }
    }

    /// What an instance was made with: a tuple.
    pub(crate) fn arguments(self) -> Option<Self> {
        self.instance().map(|instance| self.at(instance.arguments))
    }

    /// What was put into an instance afterwards: mostly the dictionary of its attributes.
    pub(crate) fn state(self) -> Option<Self> {
        self.instance()?.state.map(|state| self.at(state))
    }

    /// The dictionaries of an instance's attributes: of a class with slots there are two in a tuple.
    fn attributes(self) -> Option<impl Iterator<Item = Self>> {
        let state = self.state()?;
        Some(std::iter::once(state).chain(state.items().take(2)))
    }

    /// What is known of a tensor without its elements.
    pub(crate) fn view(self) -> Option<&'a View> {
        match self.object() {
            Object::Tensor(view) => Some(view),
            _ => None,
        }
    }

    /// The tensor: a slice of the file where that is possible. `None` for other objects, and for elements that have no
    /// counterpart in ONNX.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the file does not hold its elements.
    pub(crate) fn tensor(self) -> Result<Option<Tensor>, Error> {
        self.view().map_or(Ok(None), |view| self.document.tensor(view))
    }
}

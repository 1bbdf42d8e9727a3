//! What calls would have made: plain values and tensors for the few constructors that are known, else an instance that is
//! kept as data.

use std::sync::Arc;

use bytes::Bytes;

use super::globals::{is_path, storage_type};
use super::machine::Machine;
use super::object::{ElementType, Id, Instance, Object, Place, Storage, View};

/// What copying one item into another container costs.
const ITEM: usize = 8;
/// Most arguments that a constructor which is known takes.
const MOST_ARGUMENTS: usize = 8;

impl Machine {
    /// What calling `callee` would have made.
    pub(super) fn construct(&mut self, callee: Id, arguments: Id) -> Result<Id, String> {
        let class = match self.objects.get(callee) {
            Object::Global(name) => Arc::clone(name),
            Object::Instance(instance) => format!("{}()", instance.class.trim_end_matches("()")).into(),
            _ => return Err("something that is no class is called".into()),
        };
        let Object::Tuple(all) = self.objects.get(arguments) else {
            return Err(format!("the arguments of `{class}` are no tuple"));
        };
        // A program may pass the same long tuple again and again.
        let items: Vec<Id> = all.iter().take(MOST_ARGUMENTS).copied().collect();
        let count = all.len();
        match &*class {
            "collections.OrderedDict" | "collections.Counter" | "builtins.dict" => {
                self.dict(items.first().copied())
            }
            "collections.defaultdict" => self.dict(items.get(1).copied()),
            "builtins.list" | "collections.deque" => self.collected(&items, Object::List),
            "builtins.tuple" | "torch.Size" => self.collected(&items, Object::Tuple),
            "builtins.set" | "builtins.frozenset" => self.collected(&items, Object::Set),
            "builtins.bytes" | "builtins.bytearray" | "_codecs.encode" => self.encoded(&items),
            "copyreg._reconstructor" | "copyreg.__newobj__" => self.new_object(&items, arguments),
            "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" => self.view(&items),
            "torch._utils._rebuild_parameter"
            | "torch._utils._rebuild_parameter_with_state"
            | "torch.nn.parameter.Parameter"
            | "torch.nn.parameter.Buffer" => self.parameter(&class, &items),
            "torch._tensor._rebuild_from_type_v2" => self.with_attributes(&items),
            "numpy.core.multiarray.scalar" | "numpy.core.numeric._frombuffer" => {
                self.numpy(&class, &items, arguments)
            }
            path if is_path(path) => self.path(arguments, count),
            _ => self.instance(class, arguments),
        }
    }

    pub(super) fn instance(&mut self, class: Arc<str>, arguments: Id) -> Result<Id, String> {
        self.objects.add(Object::Instance(Box::new(Instance { class, arguments, state: None })))
    }

    /// `dict()`, `dict(another)` or `dict([[key, value], …])`.
    fn dict(&mut self, content: Option<Id>) -> Result<Id, String> {
        let entries = match content.map(|content| self.objects.get(content)) {
            None | Some(Object::None) => Vec::new(),
            Some(Object::Dict(entries)) => {
                let entries = entries.clone();
                self.objects.spend(ITEM * entries.len())?;
                entries
            }
            Some(Object::List(items) | Object::Tuple(items)) => {
                let pair = |item: &Id| match self.objects.items(*item) {
                    [key, value] => Ok((*key, *value)),
                    _ => Err("an entry of a dictionary is no pair"),
                };
                let entries = items.iter().map(pair).collect::<Result<Vec<_>, _>>()?;
                self.objects.spend(ITEM * entries.len())?;
                entries
            }
            Some(_) => return Err("a dictionary is made of something else".into()),
        };
        self.objects.add(Object::Dict(entries))
    }

    /// A container of what another one holds.
    fn collected(&mut self, arguments: &[Id], make: impl Fn(Vec<Id>) -> Object) -> Result<Id, String> {
        let items = match arguments.first() {
            None => Vec::new(),
            Some(content) => match self.objects.get(*content) {
                Object::List(items) | Object::Tuple(items) | Object::Set(items) => items.clone(),
                _ => return Err("a list is made of something else".into()),
            },
        };
        self.objects.spend(ITEM * items.len())?;
        self.objects.add(make(items))
    }

    /// `bytes(…)` of bytes, or of a text whose characters are the bytes (Latin-1).
    fn encoded(&mut self, arguments: &[Id]) -> Result<Id, String> {
        let bytes = match arguments.first().map(|content| self.objects.get(*content)) {
            None => Bytes::new(),
            Some(Object::Bytes(bytes)) => bytes.clone(),
            Some(Object::Text(text)) => {
                let text = Arc::clone(text);
                self.objects.spend(text.len())?;
                let encoding = arguments.get(1).and_then(|encoding| self.objects.text(*encoding));
                match encoding.map(|encoding| encoding.to_ascii_lowercase()).as_deref() {
                    Some("latin1" | "latin-1" | "iso-8859-1") => {
                        let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
                        bytes.ok_or("a text is not Latin-1")?.into()
                    }
                    _ => Bytes::copy_from_slice(text.as_bytes()),
                }
            }
            Some(_) => return Err("bytes are made of something else".into()),
        };
        self.objects.add(Object::Bytes(bytes))
    }

    /// `object.__new__(class)`, as protocols below 2 and `copyreg` have it.
    fn new_object(&mut self, items: &[Id], arguments: Id) -> Result<Id, String> {
        match items.first().map(|class| self.objects.get(*class)) {
            Some(Object::Global(class)) if &**class == "collections.OrderedDict" => self.dict(None),
            Some(Object::Global(class)) => self.instance(Arc::clone(class), arguments),
            _ => Err("an object is made without a class".into()),
        }
    }

    /// The path as a text.
    fn path(&mut self, arguments: Id, count: usize) -> Result<Id, String> {
        self.objects.spend(ITEM * count)?;
        let mut path = String::new();
        for part in self.objects.items(arguments).to_vec() {
            let part = self.objects.text(part).cloned().ok_or("a part of a path is no text")?;
            self.objects.spend(part.len())?;
            if !path.is_empty() && !path.ends_with(['/', '\\']) {
                path.push('/');
            }
            path.push_str(&part);
        }
        self.objects.add(Object::Text(path.into()))
    }

    /// A tensor that is only wrapped.
    fn parameter(&mut self, class: &str, items: &[Id]) -> Result<Id, String> {
        let tensor = items.first().filter(|item| matches!(self.objects.get(**item), Object::Tensor(_)));
        tensor.copied().ok_or_else(|| format!("`{class}` is called without a tensor"))
    }

    /// `(function, class, arguments, attributes)`.
    fn with_attributes(&mut self, items: &[Id]) -> Result<Id, String> {
        let [function, _, arguments, ..] = items else {
            return Err("a tensor with attributes is made without arguments".into());
        };
        match self.objects.get(*function) {
            Object::Global(name) if name.starts_with("torch._utils._rebuild_") => {
                self.construct(*function, *arguments)
            }
            _ => Err("a tensor with attributes is made by something else".into()),
        }
    }

    /// `(storage, offset, shape, strides, requires_grad, hooks, metadata)`.
    fn view(&mut self, items: &[Id]) -> Result<Id, String> {
        let [storage, offset, shape, strides, ..] = items else {
            return Err("a tensor is made without its shape".into());
        };
        if let Some(Object::Dict(flags)) = items.get(6).map(|metadata| self.objects.get(*metadata)) {
            // The bits say that the values are to be negated or conjugated.
            let set = |(_, value): &(Id, Id)| !matches!(self.objects.get(*value), Object::Bool(false));
            if flags.iter().any(set) {
                return Err("a tensor is stored negated or conjugated".into());
            }
        }
        let offset = self.objects.count(*offset).ok_or("a tensor's offset is no count")?;
        let shape = self.objects.sizes(*shape).ok_or("a tensor's shape is none")?;
        let strides = self.objects.sizes(*strides).ok_or("a tensor's strides are none")?;
        self.tensor(*storage, offset, &shape, strides)
    }

    /// A tensor, once it is known that all of its elements lie in its storage.
    pub(super) fn tensor(
        &mut self,
        storage: Id,
        offset: u64,
        shape: &[u64],
        strides: Vec<u64>,
    ) -> Result<Id, String> {
        let Object::Storage(place) = self.objects.get(storage) else {
            return Err("a tensor has no storage".into());
        };
        if shape.len() != strides.len() {
            return Err(format!("a tensor has {} dimensions and {} strides", shape.len(), strides.len()));
        }
        let (dtype, elements) = (place.dtype, place.elements);
        let outside = || format!("a tensor lies outside its storage of {elements} elements");
        let fits = |count: u64| usize::try_from(count).ok().filter(|count| isize::try_from(*count).is_ok());
        let bytes = shape.iter().try_fold(dtype.width, |bytes, size| bytes.checked_mul(*size));
        bytes.and_then(fits).ok_or_else(outside)?;
        let shape: Vec<usize> =
            shape.iter().map(|size| fits(*size)).collect::<Option<_>>().ok_or_else(outside)?;
        let end = if shape.contains(&0) {
            // Nothing is read, but the offset may still not lie beyond the end.
            Some(offset)
        } else {
            let steps =
                shape.iter().zip(&strides).map(|(size, stride)| (*size as u64 - 1).checked_mul(*stride));
            steps.fold(offset.checked_add(1), |end, step| end?.checked_add(step?))
        };
        if end.is_none_or(|end| end > elements) {
            return Err(outside());
        }
        self.objects.add(Object::Tensor(Box::new(View { storage, dtype, offset, shape, strides })))
    }

    /// What a persistent id stands for: `('storage', class, key, location, elements)`, before PyTorch 1.6 with
    /// `(key, offset, elements)` of a part or `None` behind it, or `('module', class, file, source)`.
    pub(super) fn persistent(&mut self, id: Id) -> Result<Id, String> {
        let wrong = || "a persistent id is not that of a storage".to_owned();
        let Object::Tuple(items) = self.objects.get(id) else { return Err(wrong()) };
        let kind = items.first().and_then(|kind| self.objects.text(*kind)).map(|kind| &**kind);
        if let (Some("module"), [_, class, _, _]) = (kind, &items[..]) {
            return if matches!(self.objects.get(*class), Object::Global(_)) {
                Ok(*class)
            } else {
                Err(wrong())
            };
        }
        let (class, key, elements, part) = match (kind, &items[..]) {
            (Some("storage"), [_, class, key, _, elements]) => (class, key, elements, None),
            (Some("storage"), [_, class, key, _, elements, part]) => (class, key, elements, Some(*part)),
            _ => return Err(wrong()),
        };
        let dtype = match self.objects.get(*class) {
            Object::Global(class) => storage_type(class)
                .ok_or_else(|| format!("a tensor is stored in `{class}`, which is not read"))?,
            _ => return Err(wrong()),
        };
        let key = match self.objects.get(*key) {
            Object::Text(key) => Arc::clone(key),
            Object::Int(key) => key.to_string().into(),
            _ => return Err(wrong()),
        };
        let whole = self.objects.count(*elements).ok_or_else(wrong)?;
        let part = part.filter(|part| !matches!(self.objects.get(*part), Object::None));
        let (start, elements) = match part {
            None => (0, whole),
            Some(part) => self.part(part).ok_or_else(wrong)?,
        };
        if start.checked_add(elements).is_none_or(|end| end > whole) {
            return Err(format!("a part of a storage lies outside its {whole} elements"));
        }
        self.storage(Storage { dtype, whole, start, elements, place: Place::Container(key) })
    }

    fn part(&self, part: Id) -> Option<(u64, u64)> {
        match self.objects.items(part) {
            [_, start, elements] => Some((self.objects.count(*start)?, self.objects.count(*elements)?)),
            _ => None,
        }
    }

    fn storage(&mut self, storage: Storage) -> Result<Id, String> {
        self.objects.add(Object::Storage(Box::new(storage)))
    }

    /// A storage in the program itself.
    pub(super) fn inline(&mut self, dtype: ElementType, bytes: Bytes) -> Result<Id, String> {
        let elements = bytes.len() as u64 / dtype.width;
        if elements.checked_mul(dtype.width) != Some(bytes.len() as u64) {
            return Err(format!("{} bytes are no array of `{}`", bytes.len(), dtype.name));
        }
        let place = Place::Program(bytes);
        self.storage(Storage { dtype, whole: elements, start: 0, elements, place })
    }

    /// Puts `state` into an object that was made without it.
    pub(super) fn build(&mut self, object: Id, state: Id) -> Result<(), String> {
        let Object::Instance(instance) = self.objects.get(object) else {
            // Attributes of a dictionary (`_metadata`) or of a tensor are not needed; numbers and texts have none.
            return match self.objects.get(object) {
                Object::Dict(_) | Object::List(_) | Object::Set(_) | Object::Tensor(_) => Ok(()),
                _ => Err("something gets attributes that cannot have any".into()),
            };
        };
        if instance.state.is_some() {
            return Err(format!("an instance of `{}` gets its attributes twice", instance.class));
        }
        if let Some(array) = self.array(object, state)? {
            self.become_array(object, array);
            return Ok(());
        }
        if let Some(Object::Instance(instance)) = self.objects.get_mut(object) {
            instance.state = Some(state);
        }
        Ok(())
    }

    /// Replaces an object by the tensor that it turned out to be: others may already refer to it.
    fn become_array(&mut self, object: Id, array: Id) {
        let array = self.objects.get(array).clone();
        if let Some(place) = self.objects.get_mut(object) {
            *place = array;
        }
    }
}

//! The container of PyTorch before 1.6: pickles one after the other, then the storages.
//!
//! Magic number, version, what the machine was like, the object itself, the names of the storages; then for every name its
//! number of elements (eight bytes) and the elements.
//!
//! Format: `_legacy_save` in `torch/serialization.py`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::machine::Machine;
use super::object::{Id, Object, Objects, Place};

/// The number that such a file begins with.
const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
/// The one version that there is.
const VERSION: i128 = 1001;
/// Where a tar archive says that it is one: the container before 0.1.10.
const TAR: usize = 257;

/// The storages of such a file, by their names.
pub(super) type Storages = BTreeMap<Arc<str>, Bytes>;

/// Follows the programs of a file that is no zip archive; one that is a single pickle has no storages.
pub(super) fn read(file: &Bytes) -> Result<(Objects, Id, Storages), String> {
    if is_tar(file) {
        return Err("the container of PyTorch before 0.1.10 is not read".into());
    }
    let mut machine = Machine::default();
    let (first, mut at) = machine.run(file.clone())?;
    if !is_number(&machine, first, MAGIC) {
        return Ok((machine.objects, first, Storages::new()));
    }
    let mut next = |machine: &mut Machine| {
        let (id, taken) = machine.run(file.slice(at..))?;
        at += taken;
        Ok::<_, String>(id)
    };
    let version = next(&mut machine)?;
    if !is_number(&machine, version, VERSION) {
        return Err("its version is not known".into());
    }
    let system = next(&mut machine)?;
    if is_big_endian(&machine.objects, system) {
        return Err("its tensors are not little-endian".into());
    }
    let root = next(&mut machine)?;
    let names = next(&mut machine)?;
    let storages = storages(&machine.objects, names, file.slice(at..))?;
    Ok((machine.objects, root, storages))
}

/// Whether the bytes begin like a tar archive.
pub(super) fn is_tar(bytes: &[u8]) -> bool {
    bytes.get(TAR..).is_some_and(|rest| rest.starts_with(b"ustar"))
}

fn is_number(machine: &Machine, id: Id, number: i128) -> bool {
    matches!(machine.objects.get(id), Object::Int(actual) if *actual == number)
}

fn is_big_endian(objects: &Objects, system: Id) -> bool {
    let Object::Dict(entries) = objects.get(system) else { return false };
    entries.iter().any(|(key, value)| {
        objects.text(*key).is_some_and(|key| &**key == "little_endian")
            && matches!(objects.get(*value), Object::Bool(false))
    })
}

fn storages(objects: &Objects, names: Id, mut rest: Bytes) -> Result<Storages, String> {
    let mut expected: HashMap<&str, (u64, u64)> = HashMap::new();
    for object in objects.all() {
        if let Object::Storage(storage) = object
            && let Place::Container(key) = &storage.place
        {
            expected.insert(key, (storage.dtype.width, storage.whole));
        }
    }
    let mut storages = Storages::new();
    for name in objects.items(names) {
        let name: Arc<str> = match objects.get(*name) {
            Object::Text(name) => Arc::clone(name),
            Object::Int(name) => name.to_string().into(),
            _ => return Err("the name of a storage is no text".into()),
        };
        let (width, elements) =
            *expected.get(&*name).ok_or_else(|| format!("no tensor is stored in `{name}`"))?;
        let stated = rest.first_chunk().map(|count| u64::from_le_bytes(*count));
        let stated = stated.ok_or("it ends before its storages")?;
        if stated != elements {
            return Err(format!("storage `{name}` has {stated} elements instead of {elements}"));
        }
        let size = elements.checked_mul(width).and_then(|size| usize::try_from(size).ok());
        let end = size.and_then(|size| size.checked_add(8)).filter(|end| *end <= rest.len());
        let end = end.ok_or_else(|| format!("storage `{name}` lies outside the file"))?;
        let content = rest.slice(8..end);
        rest = rest.slice(end..);
        if storages.insert(Arc::clone(&name), content).is_some() {
            return Err(format!("storage `{name}` is there twice"));
        }
    }
    Ok(storages)
}

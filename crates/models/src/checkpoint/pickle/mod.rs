//! Listing the tensors of PyTorch's `.pt` and `.bin` files without running them.
//!
//! Such a file is a *program* for Python's pickle machine. The [`machine`] here follows its data opcodes and builds plain
//! values; a class or function that the program names is never looked up, let alone called: all but a handful of known
//! constructors become opaque objects, and their names are reported.

mod machine;
mod object;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};

use bytes::Bytes;

use super::{CheckpointFacts, TensorFacts};
use crate::Error;
use machine::Machine;
use object::{Object, Objects};

/// Largest pickle that is followed; the tensors' data are not in it.
const LARGEST: u64 = 64 << 20;
/// Most tensors that are listed.
const MOST_TENSORS: usize = 200_000;
/// Longest name that is listed.
const LONGEST_NAME: usize = 1024;
/// Nesting in which tensors are looked for.
const DEEPEST: usize = 64;
/// The number that the files of PyTorch before 1.6 begin with.
const LEGACY_MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;

/// The tensors of the file, and the names of the classes and functions that loading it would import.
///
/// # Errors
/// [`Error::Damaged`] when it is no such file, or a program that the limits do not admit.
pub(super) fn facts(file: &str, bytes: &Bytes) -> Result<CheckpointFacts, Error> {
    let refuse = |reason: String| Error::damaged(file, reason);
    let (objects, root) = if bytes.starts_with(b"PK") {
        archived(bytes).map_err(refuse)?
    } else {
        legacy(bytes).map_err(refuse)?
    };
    let mut tensors = Vec::new();
    collect(&objects, root, &mut String::new(), &mut BTreeSet::new(), 0, &mut tensors);
    let is_parameter =
        |tensor: &&TensorFacts| tensor.dtype.starts_with('F') || tensor.dtype.starts_with("BF");
    Ok(CheckpointFacts {
        files: vec![file.to_owned()],
        parameters: tensors
            .iter()
            .filter(is_parameter)
            .map(|tensor| tensor.shape.iter().fold(1_u64, |count, size| count.saturating_mul(*size as u64)))
            .fold(0, u64::saturating_add),
        bytes: tensors.iter().map(|tensor| tensor.bytes).fold(0, u64::saturating_add),
        tensors,
        metadata: BTreeMap::new(),
        globals: objects.globals().cloned().collect(),
    })
}

/// The program of a zip archive: `<stem>/data.pkl`.
fn archived(bytes: &Bytes) -> Result<(Objects, usize), String> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes.clone())).map_err(|cause| cause.to_string())?;
    let name = archive
        .file_names()
        .filter(|name| *name == "data.pkl" || name.ends_with("/data.pkl"))
        .min_by_key(|name| name.len())
        .map(str::to_owned)
        .ok_or("the archive holds no `data.pkl`")?;
    let mut entry = archive.by_name(&name).map_err(|cause| cause.to_string())?;
    let mut program = Vec::new();
    // The size that the archive states is not to be believed.
    entry.by_ref().take(LARGEST + 1).read_to_end(&mut program).map_err(|cause| cause.to_string())?;
    if program.len() as u64 > LARGEST {
        return Err(format!("`{name}` is larger than {LARGEST} bytes"));
    }
    let mut machine = Machine::default();
    let (root, _) = machine.run(&program)?;
    Ok((machine.into_objects(), root))
}

/// The program of an older file: magic number, protocol, system, then the object itself.
fn legacy(bytes: &[u8]) -> Result<(Objects, usize), String> {
    let bytes = &bytes[..bytes.len().min(LARGEST as usize)];
    let mut machine = Machine::default();
    let (first, mut at) = machine.run(bytes)?;
    if !matches!(machine.objects().get(first), Object::Int(magic) if *magic == LEGACY_MAGIC) {
        // A bare pickle, as `pickle.dump` writes it.
        return Ok((machine.into_objects(), first));
    }
    for _ in 0..2 {
        at += machine.run(&bytes[at..])?.1;
    }
    let mut machine = Machine::default();
    let (root, _) = machine.run(&bytes[at..])?;
    Ok((machine.into_objects(), root))
}

/// Adds the tensors below `id`; `path` is the name so far. Modules are seen through their `_modules`, `_parameters` and
/// `_buffers`, so that names are those of `state_dict`.
fn collect(
    objects: &Objects,
    id: usize,
    path: &mut String,
    seen: &mut BTreeSet<usize>,
    depth: usize,
    found: &mut Vec<TensorFacts>,
) {
    if depth > DEEPEST || found.len() >= MOST_TENSORS || path.len() > LONGEST_NAME {
        return;
    }
    let object = objects.get(id);
    if let Object::Tensor { dtype, shape, bytes } = object {
        // A tensor that is stored once may have several names.
        let name = if path.is_empty() { "tensor".to_owned() } else { path.clone() };
        found.push(TensorFacts { name, dtype: dtype.clone(), shape: shape.clone(), bytes: *bytes });
        return;
    }
    if !seen.insert(id) {
        return;
    }
    let mut visit = |key: &str, id: usize| {
        let before = path.len();
        let inner = ["_modules", "_parameters", "_buffers", "state_dict"].contains(&key);
        if !inner {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(key);
        }
        collect(objects, id, path, seen, depth + 1, found);
        path.truncate(before);
    };
    match object {
        Object::Dict(entries) => {
            for (key, value) in entries {
                let key = match objects.get(*key) {
                    Object::Text(key) => key.clone(),
                    Object::Int(key) => key.to_string(),
                    _ => continue,
                };
                visit(&key, *value);
            }
        }
        Object::List(items) | Object::Tuple(items) => {
            for (at, item) in items.iter().enumerate() {
                visit(&at.to_string(), *item);
            }
        }
        Object::Opaque { state: Some(state), .. } => collect(objects, *state, path, seen, depth + 1, found),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A pickle of `{"model": {"weight": tensor, "again": tensor}}` as PyTorch writes it (protocol 2).
    fn program() -> Vec<u8> {
        let text =
            |text: &str| [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
        let global = |module: &str, name: &str| format!("c{module}\n{name}\n").into_bytes();
        [
            b"\x80\x02}".to_vec(),
            text("model"),
            global("collections", "OrderedDict"),
            b")R(".to_vec(),
            text("weight"),
            global("torch._utils", "_rebuild_tensor_v2"),
            b"((".to_vec(),
            text("storage"),
            global("torch", "HalfStorage"),
            [text("0"), text("cpu")].concat(),
            b"K\x06tQK\x00K\x02K\x03\x86K\x03K\x01\x86\x89NtRq\x07".to_vec(),
            text("again"),
            b"h\x07us.".to_vec(),
        ]
        .concat()
    }

    fn archive(program: &[u8]) -> Bytes {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default();
        writer.start_file("best/data.pkl", options).unwrap();
        writer.write_all(program).unwrap();
        writer.finish().unwrap().into_inner().into()
    }

    #[test]
    fn tensors_are_listed_by_their_names() {
        for bytes in [archive(&program()), Bytes::from(program())] {
            let facts = facts("best.pt", &bytes).unwrap();
            let names: Vec<&str> = facts.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
            assert_eq!(names, ["model.weight", "model.again"]);
            assert_eq!(
                (facts.tensors[0].dtype.as_str(), facts.tensors[0].shape.as_slice()),
                ("F16", [2, 3].as_slice())
            );
            assert_eq!((facts.tensors[0].bytes, facts.parameters), (12, 12));
            assert_eq!(facts.globals.len(), 3);
        }
    }

    #[test]
    fn foreign_code_is_named_and_not_run() {
        let attack = b"cos\nsystem\nX\x09\x00\x00\x00touch /x\n\x85R.";
        let facts = facts("x.pt", &archive(attack)).unwrap();
        assert_eq!((facts.globals, facts.tensors), (vec!["os.system".to_owned()], vec![]));
    }

    #[test]
    fn programs_that_break_off_or_lie_are_refused() {
        let whole = program();
        for length in 0..whole.len() {
            assert!(
                matches!(facts("x.pt", &archive(&whole[..length])), Err(Error::Damaged { .. })),
                "{length}"
            );
        }
        let cases: [&[u8]; 6] = [
            b"X\xff\xff\xff\xffa.",
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffa.",
            b"h\x00.",
            b"t.",
            b"(0t.",
            b"\x82\x01.",
        ];
        for program in cases {
            assert!(matches!(facts("x.pt", &archive(program)), Err(Error::Damaged { .. })), "{program:?}");
        }
        assert!(facts("x.pt", &Bytes::from_static(b"PK\x03\x04")).is_err());
    }

    #[test]
    fn lists_that_hold_themselves_end() {
        // A list appended to itself, and a dictionary that holds it many times.
        let mut program = b"\x80\x02]q\x00h\x00a".to_vec();
        for _ in 0..1000 {
            program.extend(b"]q\x01h\x00ah\x00aq\x00");
        }
        program.push(b'.');
        assert_eq!(facts("x.pt", &archive(&program)).unwrap().tensors, []);
    }
}

//! Files that PyTorch wrote (`tests/fixtures/make.py --pickled`).

use bytes::Bytes;
use graph::DataType;

use super::program::{archive, archive_of, dict, storage, tensor, text};
use crate::checkpoint::pickle::{Document, Node, Object};
use crate::{Checkpoint, MemoryFiles};

macro_rules! fixtures {
    ($($name:literal),*) => {
        &[$(($name, include_bytes!(concat!("../../../../tests/fixtures/pickled/", $name)))),*]
    };
}

const FIXTURES: &[(&str, &[u8])] = fixtures![
    "forms.pt",
    "forms-legacy.pt",
    "forms-protocol5.pt",
    "forms.safetensors",
    "module.pt",
    "state.pt",
    "training.pth",
    "plain-0.pkl",
    "plain-1.pkl",
    "plain-2.pkl",
    "plain-3.pkl",
    "plain-4.pkl",
    "plain-5.pkl"
];

fn fixture(name: &str) -> Bytes {
    Bytes::from_static(FIXTURES.iter().find(|(known, _)| *known == name).unwrap().1)
}

fn checkpoint(name: &str, bytes: Bytes) -> Checkpoint {
    Checkpoint::read(&MemoryFiles::new().with(name, bytes)).unwrap()
}

#[test]
fn every_form_of_a_tensor_is_read_bit_for_bit() {
    let expected = checkpoint("model.safetensors", fixture("forms.safetensors"));
    let repacked = repacked("forms.pt");
    for (name, bytes) in [
        ("forms.pt", fixture("forms.pt")),
        ("forms-legacy.pt", fixture("forms-legacy.pt")),
        ("forms-protocol5.pt", fixture("forms-protocol5.pt")),
        ("deflated.pt", repacked),
    ] {
        let actual = checkpoint(name, bytes);
        assert_eq!(actual.tensors().count(), expected.tensors().count(), "{name}");
        for (tensor, expected) in expected.tensors() {
            let actual = &actual.tensors[tensor];
            assert_eq!(
                (&actual.dtype, &actual.shape, actual.bytes),
                (&expected.dtype, &expected.shape, expected.bytes)
            );
            assert_eq!(actual.tensor, expected.tensor, "{name}: {tensor}");
        }
    }
}

/// The archive with every entry deflated.
fn repacked(name: &str) -> Bytes {
    use std::io::Read;
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(fixture(name))).unwrap();
    let mut entries = Vec::new();
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        entries.push((entry.name().to_owned(), content));
    }
    let borrowed: Vec<(&str, &[u8])> =
        entries.iter().map(|(name, content)| (&**name, &content[..])).collect();
    let names: Vec<&str> = entries.iter().map(|(name, _)| &**name).collect();
    archive_of(&borrowed, &names)
}

#[test]
fn tensors_share_the_bytes_of_the_file() {
    for name in ["forms.pt", "forms-legacy.pt"] {
        let bytes = fixture(name);
        let range = bytes.as_ptr_range();
        let checkpoint = checkpoint(name, bytes);
        for (name, stored) in checkpoint.tensors() {
            let tensor = stored.tensor.as_ref().unwrap();
            let computed = ["columns", "transposed", "permuted", "expanded", "every_second", "channels_last"];
            assert_eq!(tensor.is_deferred(), computed.contains(&name), "{name}");
            if !tensor.is_deferred() && !tensor.is_empty() {
                assert!(range.contains(&tensor.bytes().as_ptr()), "{name}");
            }
        }
        let bytes = |name: &str| checkpoint.tensors[name].tensor.as_ref().unwrap().bytes().as_ptr();
        assert_eq!(bytes("parameter"), bytes("tied"));
    }
}

#[test]
fn the_averaged_weights_of_a_training_run_are_taken() {
    let run = checkpoint("training.pth", fixture("training.pth"));
    let state = checkpoint("state.pt", fixture("state.pt"));
    assert_eq!(run.facts().metadata["section"], "ema.module");
    assert_eq!(run.facts().tensors, state.facts().tensors);
    let whole = checkpoint("module.pt", fixture("module.pt"));
    assert_eq!(whole.facts().metadata["section"], "model");
    assert_eq!(whole.facts().tensors, state.facts().tensors);
    for (name, stored) in state.tensors() {
        assert_eq!(run.tensors[name].tensor, stored.tensor, "{name}");
        assert_eq!(whole.tensors[name].tensor, stored.tensor, "{name}");
    }
}

#[test]
fn what_lies_beside_weights_is_read_as_plain_values() {
    let document = Document::parse("training.pth", &fixture("training.pth")).unwrap();
    let get = |key: &str| document.root().get(key).unwrap();
    assert_eq!(get("ema").get("updates").and_then(Node::as_int), Some(7));
    let args = get("args");
    assert_eq!(args.class(), Some("argparse.Namespace"));
    assert_eq!(args.get("lr").and_then(Node::as_float), Some(1e-4));
    assert_eq!(args.get("output_dir").and_then(Node::as_text), Some("/tmp/out"));
    assert!(matches!(args.get("seed").unwrap().object(), Object::Int(seed) if *seed == 1 << 70));
    let metrics: Vec<Node<'_>> = get("metrics").get("ap").unwrap().items().collect();
    assert_eq!(metrics[0].as_float(), Some(0.5));
    assert_eq!((metrics[1].as_int(), metrics[2].as_bool()), (Some(3), Some(true)));
    let array = get("array").tensor().unwrap().unwrap();
    assert_eq!((array.shape(), array.to_f32().unwrap()), (&[2, 3][..], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
    let fortran = get("fortran").tensor().unwrap().unwrap();
    assert_eq!((fortran.shape(), fortran.to_i64().unwrap()), (&[2, 3][..], vec![0, 1, 2, 3, 4, 5]));
    assert_eq!(get("when").class(), Some("datetime.datetime"));
    assert_eq!(get("device").arguments().unwrap().items().next().and_then(Node::as_text), Some("cuda"));
    assert_eq!(get("dtype").class(), Some("torch.float16"));
    assert_eq!(get("size").items().map(Node::as_int).collect::<Vec<_>>(), [Some(1), Some(2)]);
    assert_eq!(
        (get("set").items().len(), get("frozen").items().len(), get("deque").items().len()),
        (2, 1, 1)
    );
    assert!(matches!(get("bytes").object(), Object::Bytes(bytes) if **bytes == [0, 255]));
    assert!(matches!(get("bytearray").object(), Object::Bytes(bytes) if **bytes == *b"ab"));
    assert_eq!(get("counter").get("a").and_then(Node::as_int), Some(2));
    assert_eq!(get("space").get("a").and_then(Node::as_int), Some(1));
    assert!(get("nan").as_float().unwrap().is_nan() && get("nothing").is_none());
    assert!(matches!(get("long").object(), Object::Long));
    assert_eq!(get("text").as_text(), Some("é😀"));
}

#[test]
fn every_protocol_gives_the_same_values() {
    for protocol in 0..=5 {
        let name = format!("plain-{protocol}.pkl");
        let document = Document::parse(&name, &fixture(&name)).unwrap();
        let root = document.root();
        let list: Vec<Node<'_>> = root.get("a").unwrap().items().collect();
        let ints: Vec<Option<i64>> = list[..6].iter().map(|node| node.as_int()).collect();
        assert_eq!(ints, [1, -1, 255, 65535, 1 << 31, i64::MIN].map(Some), "{name}");
        assert!(matches!(list[6].object(), Object::Int(long) if *long == 1 << 100), "{name}");
        assert_eq!((list[7].as_float(), list[8].as_bool(), list[9].is_none()), (Some(1.5), Some(true), true));
        let sizes: Vec<usize> = list[10..13].iter().map(|node| node.items().len()).collect();
        assert_eq!(sizes, [0, 1, 4], "{name}");
        assert_eq!(list[13].as_text(), Some("é'\n"), "{name}");
        assert!(
            matches!(root.get("b").unwrap().object(), Object::Bytes(bytes) if **bytes == [0, 255]),
            "{name}"
        );
        let (key, set) = root.get("c").unwrap().entries().next().unwrap();
        assert_eq!(
            (key.as_int(), set.items().next().and_then(Node::as_text)),
            (Some(1), Some("x")),
            "{name}"
        );
        let array = root.get("d").unwrap().tensor().unwrap().unwrap();
        assert_eq!((array.dtype(), array.to_f32().unwrap()), (DataType::F32, vec![0.0, 1.0, 2.0]), "{name}");
        assert_eq!(root.get("e").and_then(Node::as_float), Some(0.5), "{name}");
    }
}

#[test]
fn instances_of_modules_are_kept_as_data() {
    let document = Document::parse("module.pt", &fixture("module.pt")).unwrap();
    let module = document.root().get("model").unwrap();
    assert_eq!(module.class(), Some("torch.nn.modules.container.Sequential"));
    let linear = module.get("_modules").unwrap().get("0").unwrap();
    assert_eq!(linear.class(), Some("torch.nn.modules.linear.Linear"));
    assert_eq!(linear.get("in_features").and_then(Node::as_int), Some(2));
    let weight = linear.get("_parameters").unwrap().get("weight").unwrap();
    assert_eq!(weight.tensor().unwrap().unwrap().shape(), [3, 2]);
    assert!(linear.tensor().unwrap().is_none() && linear.state().is_some());
}

#[test]
fn what_wrappers_put_before_names_is_taken_away_where_all_have_it() {
    let one = || tensor(storage("0", 8), 0, &[8], &[1]);
    let names = |entries: &[(&str, Vec<u8>)]| -> Vec<String> {
        let checkpoint = checkpoint("x.pt", archive(&dict(entries)));
        checkpoint.tensors().map(|(name, _)| name.to_owned()).collect()
    };
    assert_eq!(names(&[("module.a", one()), ("module.b.c", one())]), ["a", "b.c"]);
    assert_eq!(names(&[("_orig_mod.module.a", one())]), ["a"]);
    assert_eq!(names(&[("module.a", one()), ("b", one())]), ["module.a", "b"]);
    // A network whose part is called like a section, and a section that holds no weights.
    let part = dict(&[("w", one())]);
    let part = part[2..part.len() - 1].to_vec();
    assert_eq!(names(&[("model", part.clone()), ("a", one()), ("b", one())]), ["model.w", "a", "b"]);
    assert_eq!(names(&[("ema", text("none")), ("model", part)]), ["w"]);
}

#[test]
fn safetensors_come_first_and_the_choice_between_pickles_is_told() {
    let files = MemoryFiles::new()
        .with("pytorch_model.bin", fixture("state.pt"))
        .with("model.safetensors", fixture("forms.safetensors"))
        .with("training_args.bin", &b"junk"[..]);
    let read = |files: &MemoryFiles| Checkpoint::read(files).map(|checkpoint| checkpoint.files);
    assert_eq!(read(&files).unwrap(), ["model.safetensors"]);
    let mut files = files;
    files.remove("model.safetensors");
    assert_eq!(read(&files).unwrap(), ["pytorch_model.bin"]);
    files.remove("pytorch_model.bin");
    assert!(matches!(read(&files), Err(crate::Error::MissingFile { .. })));
    let files = files.with("a.pth", fixture("state.pt"));
    assert_eq!(read(&files).unwrap(), ["a.pth"]);
    let files = files.with("b.pt", fixture("state.pt"));
    assert!(matches!(read(&files), Err(crate::Error::Underivable { option: "SOURCE/FILE", .. })));
    let files = files.with("best.pt", fixture("state.pt"));
    assert_eq!(read(&files).unwrap(), ["best.pt"]);
}

/// Any byte may be another one: whatever still reads gives tensors of the size that they say.
#[test]
fn files_with_a_changed_byte_are_read_or_refused() {
    for name in ["forms.pt", "forms-legacy.pt", "training.pth"] {
        let whole = fixture(name);
        let mut read = 0;
        for at in 0..whole.len() {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 0x81;
            let files = MemoryFiles::new().with(name, bytes);
            let Ok(checkpoint) = Checkpoint::read(&files) else { continue };
            read += 1;
            for (_, stored) in checkpoint.tensors() {
                let tensor = stored.tensor.as_ref().filter(|_| stored.bytes < 1 << 16);
                assert!(tensor.is_none_or(|tensor| tensor.bytes().len() == stored.bytes));
            }
        }
        assert!(read > whole.len() / 10, "{name}: {read}");
    }
}

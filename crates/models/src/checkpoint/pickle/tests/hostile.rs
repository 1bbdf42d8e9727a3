//! Programs that lie, break off, or want to be run.

use bytes::Bytes;

use super::program::{archive, archive_of, call, dict, global, int, storage, tensor, text, tuple};
use crate::checkpoint::pickle::{Document, facts};
use crate::{Checkpoint, Error, ErrorKind, MemoryFiles};

fn read(bytes: impl Into<Bytes>) -> Result<Checkpoint, Error> {
    Checkpoint::read(&MemoryFiles::new().with("x.pt", bytes))
}

fn reason(bytes: impl Into<Bytes>) -> String {
    match read(bytes) {
        Err(Error::Damaged { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn foreign_code_is_named_and_never_run() {
    let shell = text("kill -9 $PPID");
    let eval = text("__import__('os').abort()");
    let protocol4 = [text("posix"), text("system"), b"\x93".to_vec()].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("os.system", call(global("os", "system"), std::slice::from_ref(&shell))),
        ("posix.system", call(protocol4, std::slice::from_ref(&shell))),
        ("builtins.eval", call(global("__builtin__", "eval"), std::slice::from_ref(&eval))),
        ("builtins.exec", call(global("builtins", "exec"), std::slice::from_ref(&eval))),
        ("builtins.__import__", call(global("builtins", "__import__"), &[text("os")])),
        ("subprocess.Popen", [b"(".to_vec(), shell.clone(), b"isubprocess\nPopen\n".to_vec()].concat()),
        ("nt.system", [b"(".to_vec(), global("nt", "system"), shell.clone(), b"o".to_vec()].concat()),
        ("torch.hub.load", [global("torch.hub", "load"), b")\x81".to_vec()].concat()),
        ("webbrowser.open", [global("webbrowser", "open"), b")}\x92".to_vec()].concat()),
        ("torch._utils._rebuild_tensor_v3", call(global("torch._utils", "_rebuild_tensor_v3"), &[])),
        ("torch._utils._rebuild_qtensor", call(global("torch._utils", "_rebuild_qtensor"), &[])),
        // Named without being called.
        ("shutil.rmtree", global("shutil", "rmtree")),
    ];
    for (name, attack) in cases {
        let program = dict(&[("weight", tensor(storage("0", 8), 0, &[8], &[1])), ("x", attack)]);
        match read(archive(&program)) {
            Err(error @ Error::ForeignCode { .. }) => {
                assert_eq!(error.kind(), ErrorKind::Unusable);
                assert!(error.to_string().contains(name) && error.hint().is_some(), "{error}");
            }
            other => panic!("{name}: {other:?}"),
        }
        let facts = facts("x.pt", &archive(&program)).unwrap();
        assert!(facts.globals.contains(&name.to_owned()) && facts.tensors.len() == 1, "{:?}", facts.globals);
        assert_eq!(facts.foreign, [name]);
    }
    let terminal = call(global("os\x1b[2J", "x"), &[]);
    let error = read(archive(&dict(&[("x", terminal)]))).unwrap_err();
    assert!(!error.to_string().contains('\x1b'));
}

#[test]
fn tensors_outside_their_storage_are_refused() {
    let cases: [(i64, &[i64], &[i64]); 12] = [
        (0, &[9], &[1]),
        (1, &[8], &[1]),
        (8, &[1], &[1]),
        (9, &[0], &[1]),
        (-1, &[2], &[1]),
        (0, &[-1], &[1]),
        (0, &[2], &[-1]),
        (0, &[2], &[8]),
        (0, &[2, 2], &[1]),
        (0, &[i64::MAX], &[1]),
        (0, &[i64::MAX, i64::MAX], &[0, 0]),
        (i64::MAX, &[2], &[i64::MAX]),
    ];
    for (offset, shape, strides) in cases {
        let program = dict(&[("w", tensor(storage("0", 8), offset, shape, strides))]);
        let reason = reason(archive(&program));
        assert!(reason.contains("tensor"), "{offset} {shape:?} {strides:?}: {reason}");
    }
    let good = |offset, shape: &[i64], strides: &[i64]| {
        let checkpoint =
            read(archive(&dict(&[("w", tensor(storage("0", 8), offset, shape, strides))]))).unwrap();
        checkpoint.tensors["w"].tensor.as_ref().unwrap().to_f32().unwrap()
    };
    assert!(good(8, &[0, 5], &[1, 1]).is_empty());
    assert_eq!(good(7, &[1, 1], &[i64::MAX, 77]), [7.0]);
    assert_eq!(good(1, &[2, 2, 1], &[1, 4, i64::MAX]), [1.0, 5.0, 2.0, 6.0]);
    assert_eq!(good(3, &[2, 2], &[0, 0]), [3.0; 4]);
}

#[test]
fn a_small_storage_does_not_become_a_large_tensor() {
    let side = 1 << 20;
    let program = dict(&[("w", tensor(storage("0", 8), 0, &[side, side], &[0, 0]))]);
    assert!(reason(archive(&program)).contains("repeats"));
}

#[test]
fn storages_have_to_be_what_they_say() {
    let one = |storage: Vec<u8>| dict(&[("w", tensor(storage, 0, &[1], &[1]))]);
    assert!(reason(archive(&one(storage("1", 8)))).contains("not in the archive"));
    assert!(reason(archive(&one(storage("../0", 8)))).contains("not in the archive"));
    assert!(reason(archive(&one(storage("0", 7)))).contains("32 bytes instead of 28"));
    assert!(reason(archive(&one(storage("0", i64::MAX)))).contains("bytes instead of"));
    let class = global("torch", "FloatStorage");
    let wrong: Vec<Vec<u8>> = vec![
        text("0"),
        int(0),
        b"N".to_vec(),
        tuple(&[]),
        tuple(&[text("storage")]),
        tuple(&[text("storage"), text("FloatStorage"), text("0"), text("cpu"), int(8)]),
        tuple(&[text("storage"), class.clone(), text("0"), text("cpu"), int(-8)]),
        tuple(&[text("storage"), class.clone(), text("0"), text("cpu"), text("8")]),
        tuple(&[text("storage"), class.clone(), tuple(&[]), text("cpu"), int(8)]),
        tuple(&[text("storage"), global("torch", "QUInt4x2Storage"), text("0"), text("cpu"), int(8)]),
        tuple(&[
            text("storage"),
            class.clone(),
            text("0"),
            text("cpu"),
            int(8),
            tuple(&[int(0), int(4), int(5)]),
        ]),
        tuple(&[text("storage"), class.clone(), text("0"), text("cpu"), int(8), text("view")]),
        tuple(&[text("module"), text("x"), text("y"), text("z")]),
        tuple(&[text("file"), class, text("0"), text("cpu"), int(8)]),
    ];
    for id in wrong {
        let id = [id, b"Q".to_vec()].concat();
        assert!(matches!(read(archive(&one(id.clone()))), Err(Error::Damaged { .. })), "{id:?}");
    }
    assert!(matches!(read(archive(b"\x80\x02P0\n.")), Err(Error::Damaged { .. })));
}

#[test]
fn values_that_would_need_a_computation_are_refused() {
    let flags = |flag: &str| [b"}".to_vec(), text(flag), b"\x88s".to_vec()].concat();
    for flag in ["neg", "conj"] {
        let items = [
            storage("0", 8),
            int(0),
            tuple(&[int(8)]),
            tuple(&[int(1)]),
            b"\x89".to_vec(),
            b"N".to_vec(),
            flags(flag),
        ];
        let tensor = call(global("torch._utils", "_rebuild_tensor_v2"), &items);
        assert!(reason(archive(&dict(&[("w", tensor)]))).contains("negated"));
    }
}

#[test]
fn programs_that_break_off_or_lie_are_refused() {
    let whole = dict(&[("w", tensor(storage("0", 8), 0, &[8], &[1])), ("b", b"B\x02\0\0\0ab".to_vec())]);
    assert!(read(archive(&whole)).is_ok());
    for length in 0..whole.len() {
        assert!(matches!(read(archive(&whole[..length])), Err(Error::Damaged { .. })), "{length}");
    }
    let cases: [&[u8]; 31] = [
        b"X\xff\xff\xff\xffa.",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffa.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\xffa.",
        b"\x8b\xff\xff\xff\xffa.",
        b"\x80\x06N.",
        b"h\x00.",
        b"g-1\n.",
        b"q\x00.",
        b"t.",
        b"(0t.",
        b"N(0\x85.",
        b"}N(a.",
        b"\x82\x01.",
        b"\x83\x01\x00.",
        b"\x84\x01\x00\x00\x00.",
        b"\x97.",
        b"N\x98.",
        b"Ix\n.",
        b"Fx\n.",
        b"NNa.",
        b"]NNs.",
        b"}(Nu.",
        b"(Nd.",
        b"N)R.",
        b"}}R.",
        b"(o.",
        b"NN\x93.",
        b"N}b.",
        b"K\x01}b.",
        b")}b.",
        b"cos\nsystem\n}b.",
    ];
    for program in cases {
        let result = read(archive(program));
        assert!(matches!(result, Err(Error::Damaged { .. })), "{program:?}: {result:?}");
    }
}

#[test]
fn attributes_are_put_into_instances_only_once() {
    let module = [global("torch.nn.modules.linear", "Linear"), b")\x81".to_vec()].concat();
    let twice = dict(&[("x", [module, b"}b}b".to_vec()].concat())]);
    assert!(reason(archive(&twice)).contains("twice"));
}

#[test]
fn deep_nesting_ends() {
    const DEPTH: usize = 100_000;
    let lists = [vec![b']'; DEPTH], vec![b'a'; DEPTH - 1], b".".to_vec()].concat();
    let tuples = [b"N".to_vec(), vec![0x85; DEPTH], b".".to_vec()].concat();
    let marks = [vec![b'('; DEPTH], vec![b'l'; DEPTH], b".".to_vec()].concat();
    let opened = [b"}".to_vec(), text("model")].concat();
    let dictionaries = [opened.repeat(DEPTH), b"N".to_vec(), vec![b's'; DEPTH], b".".to_vec()].concat();
    let module = [global("torch.nn.modules.linear", "Linear"), b")\x81".to_vec()].concat();
    let modules = [module.repeat(DEPTH), vec![b'b'; DEPTH - 1], b".".to_vec()].concat();
    for program in [lists, tuples, marks, dictionaries, modules] {
        assert!(matches!(read(archive(&program)), Err(Error::Damaged { .. })));
        assert!(facts("x.pt", &archive(&program)).unwrap().tensors.is_empty());
    }
}

#[test]
fn what_contains_itself_ends() {
    // A list appended to itself, a dictionary and a module that hold themselves.
    let list = b"\x80\x02]q\x00h\x00a.".to_vec();
    let dictionary = [b"\x80\x02}q\x00".to_vec(), text("model"), b"h\x00s.".to_vec()].concat();
    let module = [
        global("torch.nn.modules.linear", "Linear"),
        b")\x81q\x00}".to_vec(),
        text("_modules"),
        b"}".to_vec(),
        text("a"),
        b"h\x00ssb.".to_vec(),
    ]
    .concat();
    for program in [list, dictionary, module] {
        assert!(matches!(read(archive(&program)), Err(Error::Damaged { .. })));
        assert!(facts("x.pt", &archive(&program)).unwrap().tensors.is_empty());
    }
}

#[test]
fn short_programs_do_not_ask_for_much() {
    // Every dictionary holds the one before twice: a tensor with 2^1000 names.
    let mut program =
        [b"\x80\x02".to_vec(), tensor(storage("0", 8), 0, &[8], &[1]), b"q\x00".to_vec()].concat();
    for _ in 0..1000 {
        program.extend(
            [b"}".to_vec(), text("a"), b"h\x00s".to_vec(), text("b"), b"h\x00sq\x00".to_vec()].concat(),
        );
    }
    program.push(b'.');
    let error = read(archive(&program)).unwrap_err();
    assert!(error.to_string().contains("than a checkpoint has"), "{error}");
    facts("x.pt", &archive(&program)).unwrap();

    // A long list that is copied again and again, and a long text that is encoded.
    let copies = |content: Vec<u8>, function: Vec<u8>| {
        let again = [b"h\x01h\x00R0".to_vec()].concat().repeat(200_000);
        [function, b"q\x01".to_vec(), content, b"\x85q\x00".to_vec(), again, b".".to_vec()].concat()
    };
    let long = [b"(".to_vec(), b"N".repeat(100_000), b"l".to_vec()].concat();
    let attacks = [
        copies(long, global("builtins", "list")),
        copies(text(&"a".repeat(100_000)), global("_codecs", "encode")),
    ];
    for program in attacks {
        assert!(reason(archive(&program)).contains("work"));
    }
    // Objects without end.
    assert!(reason(archive(&vec![b']'; 5_000_000])).contains("objects"));
    let memo: Vec<u8> = [b"N".to_vec(), b"\x94".repeat(5_000_000)].concat();
    assert!(read(archive(&memo)).is_err());
}

#[test]
fn containers_that_lie_are_refused() {
    let program = dict(&[("w", tensor(storage("0", 8), 0, &[8], &[1]))]);
    let numbers = [0; 32];
    let entries: [(&str, &[u8]); 3] =
        [("a/data.pkl", &program), ("a/data/0", &numbers), ("a/byteorder", b"little")];
    assert!(read(archive_of(&entries, &[])).is_ok());
    let mut big = entries;
    big[2].1 = b"big";
    assert!(reason(archive_of(&big, &[])).contains("little-endian"));
    assert!(reason(archive_of(&entries[1..], &[])).contains("no `data.pkl`"));
    let mut two = entries.to_vec();
    two.push(("b/data.pkl", &program));
    assert!(reason(archive_of(&two, &[])).contains("several programs"));

    // Another entry of the same name: the names differ by one letter when the archive is written.
    let twice = [entries[0], entries[1], ("a/data/1", &numbers[..])];
    let bytes = replaced(&archive_of(&twice, &[]), b"a/data/1", b"a/data/0");
    assert!(reason(bytes).contains("twice"));
    // An entry that begins where another one does.
    let bytes = archive_of(&twice, &[]).to_vec();
    let central: Vec<usize> = positions(&bytes, b"PK\x01\x02");
    let mut shared = bytes.clone();
    let first = bytes[central[1] + 42..central[1] + 46].to_vec();
    shared[central[2] + 42..central[2] + 46].copy_from_slice(&first);
    assert!(reason(shared).contains("share bytes"));
    // A size that is not true.
    for field in [20, 24] {
        for size in [u32::MAX - 1, 33, 0] {
            let mut lying = bytes.clone();
            lying[central[1] + field..central[1] + field + 4].copy_from_slice(&size.to_le_bytes());
            assert!(matches!(read(lying), Err(Error::Damaged { .. })), "{field} {size}");
        }
    }
    let whole = archive_of(&entries, &[]);
    for length in 0..whole.len() {
        assert!(matches!(read(whole.slice(..length)), Err(Error::Damaged { .. })), "{length}");
    }
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    assert!(reason(tar).contains("0.1.10"));
}

#[test]
fn zip_bombs_are_not_inflated() {
    let large = vec![0_u8; 64 << 20];
    let elements = large.len() as i64 / 4;
    let program = dict(&[("w", tensor(storage("0", elements), 0, &[elements], &[1]))]);
    let entries: [(&str, &[u8]); 2] = [("a/data.pkl", &program), ("a/data/0", &large)];
    let bomb = archive_of(&entries, &["a/data/0"]);
    assert!(bomb.len() < 1 << 20);
    assert!(reason(bomb.clone()).contains("inflated"));
    // Listing inflates nothing.
    assert_eq!(facts("x.pt", &bomb).unwrap().bytes, large.len() as u64);
    let program = [b"\x80\x02".to_vec(), b"N0".repeat(20 << 20), b"N.".to_vec()].concat();
    assert!(reason(archive_of(&[("a/data.pkl", &program)], &["a/data.pkl"])).contains("inflated"));
    // A stated size that is smaller than what comes out.
    let numbers = [1_u8; 64];
    let program = dict(&[("w", tensor(storage("0", 8), 0, &[8], &[1]))]);
    let bytes = archive_of(&[("a/data.pkl", &program), ("a/data/0", &numbers)], &["a/data/0"]);
    let mut lying = bytes.to_vec();
    let central = positions(&lying, b"PK\x01\x02")[1];
    lying[central + 24..central + 28].copy_from_slice(&32_u32.to_le_bytes());
    assert!(matches!(read(lying), Err(Error::Damaged { .. })));
    // A deflated entry has to fit its check sum.
    let mut damaged = bytes.to_vec();
    damaged[central + 16] ^= 1;
    assert!(matches!(read(damaged), Err(Error::Damaged { .. })));
}

#[test]
fn legacy_containers_that_lie_are_refused() {
    let magic: Vec<u8> =
        [&b"\x80\x02\x8a\x0a"[..], &0x1950_a86a_20f9_469c_fc6c_u128.to_le_bytes()[..10], b"."].concat();
    let version = b"\x80\x02M\xe9\x03.".to_vec();
    let system =
        |little: u8| [b"\x80\x02}".to_vec(), text("little_endian"), vec![little, b's', b'.']].concat();
    let state = dict(&[("w", tensor(storage("7", 2), 0, &[2], &[1]))]);
    let keys = |keys: &[&str]| {
        [b"\x80\x02(".to_vec(), keys.iter().flat_map(|key| text(key)).collect(), b"l.".to_vec()].concat()
    };
    let data = |elements: u64| {
        [&elements.to_le_bytes()[..], &1.0_f32.to_le_bytes(), &2.0_f32.to_le_bytes()].concat()
    };
    let file = |parts: [Vec<u8>; 6]| parts.concat();
    let good = [magic, version, system(0x88), state, keys(&["7"]), data(2)];
    assert_eq!(
        read(file(good.clone())).unwrap().tensors["w"].tensor.as_ref().unwrap().to_f32().unwrap(),
        [1.0, 2.0]
    );
    let changed = |at: usize, part: Vec<u8>| {
        let mut parts = good.clone();
        parts[at] = part;
        reason(file(parts))
    };
    assert!(changed(1, b"\x80\x02K\x01.".to_vec()).contains("version"));
    assert!(changed(2, system(0x89)).contains("little-endian"));
    assert!(changed(4, keys(&[])).contains("not in the file"));
    assert!(changed(4, keys(&["7", "7"])).contains("storage"));
    assert!(changed(4, keys(&["8"])).contains("no tensor is stored"));
    assert!(changed(5, data(3)).contains("3 elements instead of 2"));
    assert!(changed(5, data(u64::MAX)).contains("instead of 2"));
    let whole = file(good);
    for length in 0..whole.len() {
        assert!(matches!(read(whole[..length].to_vec()), Err(Error::Damaged { .. })), "{length}");
    }
}

#[test]
fn arrays_that_lie_are_refused() {
    let dtype = |code: &str, order: &str| {
        let made = call(global("numpy", "dtype"), &[text(code), b"\x89".to_vec(), b"\x88".to_vec()]);
        [made, tuple(&[int(3), text(order)]), b"b".to_vec()].concat()
    };
    let array = |dtype: Vec<u8>, shape: &[Vec<u8>], bytes: usize| {
        let made = call(
            global("numpy.core.multiarray", "_reconstruct"),
            &[global("numpy", "ndarray"), tuple(&[int(0)]), text("b")],
        );
        let content = [&[b'C', bytes as u8][..], &vec![1; bytes]].concat();
        let state = tuple(&[int(1), tuple(shape), dtype, b"\x89".to_vec(), content]);
        dict(&[("w", [made, state, b"b".to_vec()].concat())])
    };
    assert!(read(archive(&array(dtype("f4", "<"), &[int(2)], 8))).is_ok());
    for shape in [vec![int(3)], vec![int(-2)], vec![int(i64::MAX), int(4)], vec![text("2")]] {
        assert!(reason(archive(&array(dtype("f4", "<"), &shape, 8))).contains("array"));
    }
    // What is no little-endian number is no tensor.
    for dtype in [dtype("f4", ">"), dtype("O8", "|"), dtype("U4", "<"), text("f4")] {
        assert!(reason(archive(&array(dtype, &[int(2)], 8))).contains("no tensors"));
    }
    assert!(Document::parse("x", &Bytes::from_static(b"")).is_err());
}

fn positions(bytes: &[u8], wanted: &[u8]) -> Vec<usize> {
    bytes
        .windows(wanted.len())
        .enumerate()
        .filter(|(_, window)| *window == wanted)
        .map(|(at, _)| at)
        .collect()
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for at in positions(&bytes, from) {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

//! Inference libraries from a package index on loopback: whole, cut, damaged, killed, without a network.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hub::libraries::{Installed, Library, Origin, PackageIndex, Wheel, install, installed, register};
use hub::{Client, Error, Event};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::fake_hub::{noise, sha256};
use crate::server::{Reply, Request, Server};
use crate::setup::Setup;

const FILE: &str = "tinyruntime-1.2.3-cp312-cp312-manylinux_2_28.whl";
/// Where nobody listens: a wheel of the tests comes from an index or not at all.
const URL: &str = "http://127.0.0.1:9/packages/tinyruntime-1.2.3-cp312-cp312-manylinux_2_28.whl";

/// A wheel as the makers of ONNX Runtime build theirs, small.
fn wheel(with_library: bool) -> Vec<u8> {
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let (library, python) = (noise(300_000, 1), noise(200_000, 2));
    let mut files: Vec<(&str, &[u8])> = vec![
        ("tiny/__init__.py", b"from . import capi\n"),
        ("tiny/LICENSE", b"MIT License\n"),
        ("tiny/ThirdPartyNotices.txt", b"Eigen\n"),
        ("tiny/capi/libtiny_providers_shared.so", b"\x7fELF shared"),
        ("tiny/capi/tiny_pybind11_state.cpython-312-x86_64-linux-gnu.so", &python),
        ("tinyruntime-1.2.3.dist-info/RECORD", b""),
    ];
    if with_library {
        files.push(("tiny/capi/libtiny.so.1.2.3", &library));
    }
    for (name, content) in files {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// The table's line for this content. Lines of a table are static, so a test leaks its own.
fn pinned(content: &[u8]) -> Library {
    let wheels = Box::leak(Box::new([Wheel {
        architecture: std::env::consts::ARCH,
        url: URL,
        sha256: Box::leak(sha256(content).into_boxed_str()),
        size: content.len() as u64,
    }]));
    Library {
        name: "tinyruntime",
        project: "tinyruntime",
        version: "1.2.3",
        about: "for tests",
        inside: "tiny/capi/",
        main: "libtiny.so",
        parts: &["lib"],
        wheels,
    }
}

/// A package index that answers as the real one does and cuts the file where it is told to.
fn index(content: Vec<u8>, json: bool, cuts: &[usize]) -> Server {
    let cuts = Arc::new(Mutex::new(cuts.to_vec()));
    Server::start(move |request: &Request| {
        match request.path.as_str() {
        "/simple/tinyruntime/" if json => Reply::json(&serde_json::json!({
            "meta": {"api-version": "1.1"}, "name": "tinyruntime",
            "files": [
                {"filename": "tinyruntime-1.2.2.tar.gz", "url": "../../files/old.tar.gz", "hashes": {}},
                {"filename": FILE, "url": format!("../../files/{FILE}"), "hashes": {"sha256": "00"}},
            ],
        })),
        "/simple/tinyruntime/" => Reply::status(200).header("Content-Type", "text/html").body(
            format!("<html><body><a href=\"/files/old.tar.gz\">old</a><br/>\n<a href=\"/files/{FILE}#sha256=00\">{FILE}</a>")
                .as_bytes(),
        ),
        path if path == format!("/files/{FILE}") => {
            let reply = Reply::content(request, &content);
            let mut cuts = cuts.lock().unwrap();
            if cuts.is_empty() { reply } else { reply.cut_after(cuts.remove(0)) }
        }
        _ => Reply::status(404),
    }
    })
}

struct Machine {
    setup: Setup,
    events: Vec<Event>,
}

impl Machine {
    fn new() -> Self {
        Self { setup: Setup::new(&[]), events: Vec::new() }
    }

    fn root(&self) -> PathBuf {
        self.setup.folder.path().join("data/runtime")
    }

    fn install(&mut self, library: &Library, address: &str) -> Result<Installed, Error> {
        let client = Client::new(self.setup.config.clone())?;
        let index: PackageIndex = format!("{address}/simple").parse()?;
        self.events.clear();
        install(&client, library, Some(&index), &self.root(), &mut |event| self.events.push(event))
    }

    /// What lies in the data folder, the hidden things too.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root()).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// The cause behind "installing `tinyruntime` 1.2.3".
fn cause(error: &Error) -> &Error {
    match error {
        Error::Install { source, .. } => source,
        other => panic!("{other}"),
    }
}

#[test]
fn a_library_comes_with_its_licences_and_without_python() {
    let content = wheel(true);
    for json in [true, false] {
        let server = index(content.clone(), json, &[]);
        let mut machine = Machine::new();
        let library = pinned(&content);
        let made = machine.install(&library, &server.url()).unwrap();
        let folder = machine.root().join("tinyruntime-1.2.3");
        assert_eq!(made.library, folder.join("libtiny.so.1.2.3"));
        assert_eq!(made.origin, Origin::Wheel { file: FILE.into(), sha256: sha256(&content) });
        assert_eq!(fs::read(&made.library).unwrap(), noise(300_000, 1));
        let names: Vec<_> = made.files.keys().map(String::as_str).collect();
        let expected = [
            "libtiny.so.1.2.3",
            "libtiny_providers_shared.so",
            "licences/LICENSE",
            "licences/ThirdPartyNotices.txt",
        ];
        assert_eq!(names, expected);
        assert_eq!(made.files["licences/LICENSE"], sha256(b"MIT License\n"));
        assert_eq!(machine.names(), [".lock", "tinyruntime-1.2.3"]);
        assert_eq!(installed(&machine.root()), std::slice::from_ref(&made));

        // Once more: nothing is asked for. A file that was changed since brings the whole again.
        let before = server.requests().len();
        assert_eq!(machine.install(&library, &server.url()).unwrap(), made);
        assert_eq!(server.requests().len(), before);
        fs::write(folder.join("libtiny.so.1.2.3"), "damaged").unwrap();
        assert_eq!(machine.install(&library, &server.url()).unwrap(), made);
        assert_eq!(fs::read(&made.library).unwrap(), noise(300_000, 1));
        assert_eq!(server.requests().len(), before + 2);
    }
}

#[test]
fn a_cut_is_continued_in_this_run_and_in_the_next() {
    let content = wheel(true);
    let library = pinned(&content);
    let server = index(content.clone(), true, &[100_000, 50_000]);
    let mut machine = Machine::new();
    machine.install(&library, &server.url()).unwrap();
    let files = |server: &Server| -> Vec<String> {
        let asked = server.requests().into_iter().filter(|request| request.path.starts_with("/files/"));
        asked.map(|request| request.header("range").unwrap_or("all").to_owned()).collect()
    };
    assert_eq!(files(&server), ["all", "bytes=100000-", "bytes=150000-"]);

    let mut machine = Machine::new();
    let mut cuts = vec![120_000];
    cuts.extend([0; 16]);
    let server = index(content.clone(), true, &cuts);
    let error = machine.install(&library, &server.url()).unwrap_err();
    assert!(matches!(cause(&error), Error::Cut { got: 120_000, .. }), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("same command")), "{error}");
    assert!(installed(&machine.root()).is_empty());
    let server = index(content.clone(), true, &[]);
    machine.install(&library, &server.url()).unwrap();
    assert_eq!(files(&server), ["bytes=120000-"]);
}

#[test]
fn other_content_is_never_unpacked() {
    let content = wheel(true);
    let library = pinned(&content);
    let mut swapped = content.clone();
    swapped[1000] ^= 1;
    let server = index(swapped, true, &[]);
    let mut machine = Machine::new();
    let error = machine.install(&library, &server.url()).unwrap_err();
    assert!(matches!(cause(&error), Error::WrongHash { .. }), "{error}");
    assert_eq!((error.exit_code(), error.hint().is_some()), (1, true));
    assert_eq!(machine.names(), [".downloads", ".lock"]);
    let left: Vec<_> = fs::read_dir(machine.root().join(".downloads")).unwrap().flatten().collect();
    assert!(left.iter().all(|entry| entry.path().extension().is_some_and(|e| e == "lock")), "{left:?}");

    for longer in [true, false] {
        let mut other = content.clone();
        if longer {
            other.push(0);
        } else {
            other.truncate(1000);
        }
        let server = index(other, true, &[]);
        let error = machine.install(&library, &server.url()).unwrap_err();
        assert!(matches!(cause(&error), Error::WrongSize { .. }), "{error}");
    }
    assert!(installed(&machine.root()).is_empty());
}

#[test]
fn a_wheel_without_the_library_is_said_to_be_one() {
    let content = wheel(false);
    let server = index(content.clone(), true, &[]);
    let mut machine = Machine::new();
    let error = machine.install(&pinned(&content), &server.url()).unwrap_err();
    assert_eq!(
        cause(&error).to_string(),
        format!("the archive `{FILE}` is refused: it holds no `tiny/capi/libtiny.so…`")
    );
    assert_eq!(error.exit_code(), 11);
    let no_zip = noise(5000, 3);
    let server = index(no_zip.clone(), true, &[]);
    let error = machine.install(&pinned(&no_zip), &server.url()).unwrap_err();
    assert!(matches!(cause(&error), Error::Archive { .. }), "{error}");
    assert!(installed(&machine.root()).is_empty());
    assert!(machine.names().iter().all(|name| !name.starts_with(".unpacking")), "{:?}", machine.names());
}

#[test]
fn without_a_network_the_way_out_is_told() {
    let content = wheel(true);
    let library = pinned(&content);
    let mut machine = Machine::new();
    // A port that was free a moment ago.
    let address = { Server::start(|_| Reply::status(404)).url() };
    let closed = machine.install(&library, "http://127.0.0.1:9").unwrap_err();
    assert!(matches!(cause(&closed), Error::Transport { .. }), "{closed}");
    let missing = machine.install(&library, &Server::start(|_| Reply::status(404)).url()).unwrap_err();
    assert_eq!(missing.exit_code(), 10, "{missing}");
    let empty = Server::start(|_| Reply::json(&serde_json::json!({"files": []})));
    let elsewhere = machine.install(&library, &empty.url()).unwrap_err();
    assert!(matches!(cause(&elsewhere), Error::FileNotFound { .. }), "{elsewhere}");
    machine.setup.config.offline = true;
    let offline = machine.install(&library, &address).unwrap_err();
    assert!(matches!(cause(&offline), Error::Offline { .. }), "{offline}");
    assert_eq!((elsewhere.exit_code(), offline.exit_code()), (10, 10));
    for error in [closed, missing, elsewhere, offline] {
        let hint = error.hint().unwrap();
        assert!(hint.contains("--index-url") && hint.contains("--path") && hint.contains(URL), "{hint}");
    }
}

#[test]
fn another_processor_has_no_wheel() {
    let content = wheel(true);
    let mut library = pinned(&content);
    library.wheels = &[];
    let error = Machine::new().install(&library, "http://127.0.0.1:9").unwrap_err();
    assert!(matches!(error, Error::NoWheel { .. }), "{error}");
    assert_eq!(error.exit_code(), 30);
    assert!(error.hint().is_some_and(|hint| hint.contains("--path")));
}

/// What the next test starts as a process of its own and kills.
#[test]
#[ignore = "a part of `a_killed_installation_leaves_nothing_under_the_final_name`"]
fn installs_until_it_is_killed() {
    #[expect(clippy::disallowed_methods, reason = "the test tells its child by the environment")]
    let variable = |name| std::env::var(name).unwrap();
    let client = Client::new(Setup::new(&[]).config).unwrap();
    let index: PackageIndex = variable("CHILD_INDEX").parse().unwrap();
    let root = PathBuf::from(variable("CHILD_ROOT"));
    install(&client, &pinned(&wheel(true)), Some(&index), &root, &mut |_| ()).unwrap();
}

#[test]
fn a_killed_installation_leaves_nothing_under_the_final_name() {
    let content = wheel(true);
    let library = pinned(&content);
    let mut machine = Machine::new();
    let root = machine.root();
    // The first answer breaks off; the second never comes.
    let (served, waiting) = (content.clone(), Arc::new(Mutex::new(false)));
    let hangs = Arc::clone(&waiting);
    let server = Server::start(move |request| match request.range() {
        Some(_) => {
            *hangs.lock().unwrap() = true;
            std::thread::sleep(Duration::from_mins(1));
            Reply::status(503)
        }
        None if request.path.starts_with("/simple") => {
            Reply::status(200).body(format!("<a href='/files/{FILE}'>").as_bytes())
        }
        None => Reply::content(request, &served).cut_after(77_777),
    });
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "libraries::installs_until_it_is_killed"])
        .env("CHILD_INDEX", format!("{}/simple", server.url()))
        .env("CHILD_ROOT", &root)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !*waiting.lock().unwrap() {
        assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(installed(&root).is_empty());
    assert_eq!(machine.names(), [".downloads", ".lock"]);

    // Killed a little later, it would have left a folder half filled too.
    let half = root.join(".unpacking-x1y2z3");
    fs::create_dir_all(half.join("licences")).unwrap();
    fs::write(half.join("libtiny.so.1.2.3"), &noise(300_000, 1)[..1000]).unwrap();
    let server = index(content, true, &[]);
    machine.install(&library, &server.url()).unwrap();
    assert_eq!(machine.names(), [".lock", "tinyruntime-1.2.3"]);
    assert_eq!(server.requests().pop().unwrap().range(), Some((77_777, None)));
}

#[test]
fn a_file_of_the_users_is_remembered_until_the_wheel_comes() {
    let content = wheel(true);
    let server = index(content.clone(), true, &[]);
    let mut machine = Machine::new();
    let own = machine.setup.folder.path().join("libtiny.so.9");
    let error = register("tinyruntime", "9.0.0", &own, &machine.root()).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    fs::write(&own, "library").unwrap();
    let mine = register("tinyruntime", "9.0.0", &own, &machine.root()).unwrap();
    assert_eq!(
        (mine.library.as_path(), &mine.origin),
        (own.canonicalize().unwrap().as_path(), &Origin::Path)
    );
    assert_eq!(installed(&machine.root()), [mine]);
    let again = register("tinyruntime", "9.0.1", &own, &machine.root()).unwrap();
    assert_eq!(installed(&machine.root()), [again]);
    let made = machine.install(&pinned(&content), &server.url()).unwrap();
    assert_eq!(installed(&machine.root()), [made]);
    assert!(own.is_file());
}

#[test]
fn folders_that_are_no_libraries_are_passed_over() {
    let machine = Machine::new();
    assert!(installed(Path::new("/does/not/exist")).is_empty());
    for (folder, record) in [("a", "{"), ("b", "{}"), (".unpacking-1", "{}")] {
        fs::create_dir_all(machine.root().join(folder)).unwrap();
        fs::write(machine.root().join(folder).join("library.json"), record).unwrap();
    }
    assert!(installed(&machine.root()).is_empty());
}

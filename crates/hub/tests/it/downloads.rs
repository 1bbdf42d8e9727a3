//! Downloads that go well, and those that go on after something went wrong.

use hub::{AcquireOptions, Error, Event, Kind, Variant};

use crate::fake_hub::{COMMIT, FakeHub, REPO, git_blob, noise, sha256};
use crate::server::Reply;
use crate::setup::Setup;

const CONFIG: &[u8] = b"{\"model_type\":\"rt_detr\"}";
const CARD: &[u8] = b"---\nlicense: mit\n---\n# A model\n";

#[test]
fn a_repository_becomes_a_checked_snapshot() {
    let weights = noise(3_000_000, 1);
    let hub = FakeHub::with_pages_of(
        2,
        &[
            ("README.md", CARD, false),
            ("config.json", CONFIG, false),
            ("model.safetensors", &weights, true),
            ("samples/cat.jpg", b"jpg", false),
            ("training_args.bin", b"{}", false),
        ],
    );
    let mut setup = Setup::hub(&hub.hub.url());
    let acquired = setup.acquire(REPO).unwrap();
    assert_eq!(acquired.revision.as_deref(), Some(COMMIT));
    assert_eq!(acquired.licence.as_deref(), Some("apache-2.0"));
    let names: Vec<_> = acquired.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(names, ["README.md", "config.json", "model.safetensors"]);
    assert_eq!(acquired.file("model.safetensors").unwrap().sha256, sha256(&weights));
    assert_eq!(std::fs::read(acquired.main_file()).unwrap(), weights);

    let repo = setup.cache().join("models--PekingU--rtdetr_r50vd");
    assert_eq!(std::fs::read_to_string(repo.join("refs/main")).unwrap(), COMMIT);
    assert_eq!(std::fs::read(repo.join("blobs").join(git_blob(CONFIG))).unwrap(), CONFIG);
    let link = std::fs::read_link(repo.join("snapshots").join(COMMIT).join("model.safetensors")).unwrap();
    assert_eq!(link.to_str().unwrap(), format!("../../blobs/{}", sha256(&weights)));
    assert_eq!(hub.hub.count("/tree/"), 3);
    assert!(setup.cache().join("CACHEDIR.TAG").is_file());

    // Once more: nothing but the listing is asked for.
    let before = hub.hub.count("/resolve/");
    assert_eq!(setup.acquire(REPO).unwrap(), acquired);
    assert_eq!((hub.hub.count("/resolve/"), setup.cached()), (before, 3));
}

#[test]
fn offline_is_the_cache_and_nothing_else() {
    let hub = FakeHub::start(&[("onnx/model.onnx", b"graph", true), ("config.json", CONFIG, false)]);
    let mut setup = Setup::hub(&hub.hub.url());
    let online = setup.acquire(&format!("{REPO}@refs/pr/1")).unwrap();
    assert_eq!(online.kind, Kind::Onnx(Variant::Fp32));
    let requests = hub.hub.requests().len();
    setup.config.offline = true;
    let offline = setup.acquire(&format!("{REPO}@refs/pr/1")).unwrap();
    assert_eq!((offline.files, offline.main), (online.files, online.main));
    assert!(setup.acquire(&format!("{REPO}@{COMMIT}")).is_ok());
    for missing in [REPO, "other/repo"] {
        let error = setup.acquire(missing).unwrap_err();
        assert!(matches!(error, Error::Offline { .. }), "{error}");
        assert_eq!(error.exit_code(), 10);
    }
    assert_eq!(hub.hub.requests().len(), requests);
}

#[test]
fn a_cut_connection_is_continued_where_it_broke() {
    let weights = noise(2_000_000, 2);
    let hub = FakeHub::start(&[("model.safetensors", &weights, true)]);
    hub.cut(&weights, &[700_000, 0, 300_000]);
    let mut setup = Setup::hub(&hub.hub.url());
    let acquired = setup.acquire(REPO).unwrap();
    assert_eq!(std::fs::read(acquired.main_file()).unwrap(), weights);
    let ranges: Vec<_> =
        hub.cdn.requests().iter().map(|r| r.header("range").unwrap_or("all").to_owned()).collect();
    assert_eq!(ranges, ["all", "bytes=700000-", "bytes=700000-", "bytes=1000000-"]);
    assert_eq!(setup.slept.lock().unwrap().len(), 3);
}

#[test]
fn the_next_process_continues_too_and_rehashes_what_is_there() {
    let weights = noise(1_500_000, 3);
    let hub = FakeHub::start(&[("model.safetensors", &weights, true)]);
    hub.cut(&weights, &[900_000]);
    hub.cut(&weights, &[0; 16]);
    let mut setup = Setup::hub(&hub.hub.url());
    let error = setup.acquire(REPO).unwrap_err();
    assert!(matches!(error, Error::Cut { got: 900_000, expected: Some(1_500_000), .. }), "{error}");
    let blobs = setup.cache().join("models--PekingU--rtdetr_r50vd/blobs");
    let partial = blobs.join(format!("{}.incomplete", sha256(&weights)));
    assert_eq!(std::fs::metadata(&partial).unwrap().len(), 900_000);

    let hub = FakeHub::start(&[("model.safetensors", &weights, true)]);
    setup.config.endpoint = hub.hub.url().parse().unwrap();
    let acquired = setup.acquire(REPO).unwrap();
    assert_eq!(setup.resumed_from("model.safetensors"), Some(900_000));
    assert_eq!(acquired.file("model.safetensors").unwrap().sha256, sha256(&weights));
    assert_eq!(hub.cdn.requests()[0].range(), Some((900_000, None)));
    assert!(!partial.exists());
}

#[test]
fn a_damaged_partial_file_is_thrown_away_once() {
    let weights = noise(400_000, 4);
    let hub = FakeHub::start(&[("model.safetensors", &weights, true)]);
    let mut setup = Setup::hub(&hub.hub.url());
    let blobs = setup.cache().join("models--PekingU--rtdetr_r50vd/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let partial = blobs.join(format!("{}.incomplete", sha256(&weights)));
    for left in [noise(100_000, 5), noise(400_000, 6), noise(500_000, 7)] {
        std::fs::write(&partial, &left).unwrap();
        let acquired = setup.acquire(REPO).unwrap();
        assert_eq!(std::fs::read(acquired.main_file()).unwrap(), weights);
        std::fs::remove_file(blobs.join(sha256(&weights))).unwrap();
    }
}

#[test]
fn a_damaged_blob_in_the_cache_is_found_and_fetched_again() {
    let weights = noise(100_000, 8);
    let hub = FakeHub::start(&[("model.safetensors", &weights, true), ("config.json", CONFIG, false)]);
    let mut setup = Setup::hub(&hub.hub.url());
    setup.acquire(REPO).unwrap();
    let blob = setup.cache().join("models--PekingU--rtdetr_r50vd/blobs").join(sha256(&weights));
    let mut damaged = weights.clone();
    damaged[50_000] ^= 1;
    std::fs::write(&blob, &damaged).unwrap();
    let acquired = setup.acquire(REPO).unwrap();
    assert_eq!(std::fs::read(acquired.main_file()).unwrap(), weights);
    assert_eq!(setup.cached(), 1);

    std::fs::write(&blob, &damaged).unwrap();
    setup.config.offline = true;
    assert!(matches!(setup.acquire(REPO).unwrap_err(), Error::WrongHash { .. }));
}

#[test]
fn a_server_without_ranges_is_asked_for_everything_again() {
    let weights = noise(600_000, 9);
    let hub = FakeHub::without_ranges(&[("model.safetensors", &weights, true)]);
    hub.cut(&weights, &[200_000]);
    let mut setup = Setup::hub(&hub.hub.url());
    let acquired = setup.acquire(REPO).unwrap();
    assert_eq!(std::fs::read(acquired.main_file()).unwrap(), weights);

    // Always cut at the same place, it never gets farther: given up after the allowed tries.
    let hub = FakeHub::without_ranges(&[("model.safetensors", &weights, true)]);
    hub.cut(&weights, &[200_000; 30]);
    let mut setup = Setup::hub(&hub.hub.url());
    assert!(matches!(setup.acquire(REPO).unwrap_err(), Error::Cut { .. }));
    assert_eq!(hub.cdn.requests().len(), 6);
}

#[test]
fn wrong_content_never_gets_a_final_name() {
    let weights = noise(200_000, 10);
    for wrong in [noise(200_000, 11), noise(200_001, 11)] {
        let hub = FakeHub::start(&[("model.safetensors", &weights, true)]);
        hub.fault(&format!("/blob/{}", sha256(&weights)), [Reply::status(200).body(&wrong)]);
        let mut setup = Setup::hub(&hub.hub.url());
        let error = setup.acquire(REPO).unwrap_err();
        assert!(matches!(error, Error::WrongHash { .. } | Error::WrongSize { .. }), "{error}");
        let blobs = setup.cache().join("models--PekingU--rtdetr_r50vd/blobs");
        assert_eq!(std::fs::read_dir(blobs).unwrap().count(), usize::from(wrong.len() != weights.len()));
    }
    // A small file is checked by git's hash.
    let hub = FakeHub::start(&[("model.onnx", b"graph", true), ("config.json", CONFIG, false)]);
    let other = vec![b'x'; CONFIG.len()];
    hub.fault("/config.json", [Reply::status(200).body(&other)]);
    assert!(matches!(Setup::hub(&hub.hub.url()).acquire(REPO).unwrap_err(), Error::WrongHash { .. }));
}

#[test]
fn the_headers_of_the_redirect_are_believed_before_a_byte_is_read() {
    let weights = noise(200_000, 12);
    let headers = [
        ("X-Repo-Commit", "f".repeat(40)),
        ("X-Linked-Size", "199999".to_owned()),
        ("X-Linked-Etag", format!("\"{}\"", "0".repeat(64))),
    ];
    for (name, value) in headers {
        let hub = FakeHub::start(&[("model.safetensors", &weights, true)]);
        let to = format!("{}/blob/{}", hub.cdn.url(), sha256(&weights));
        hub.fault("/model.safetensors", [Reply::status(302).header("Location", to).header(name, value)]);
        let mut setup = Setup::hub(&hub.hub.url());
        let error = setup.acquire(REPO).unwrap_err();
        let is_refused =
            matches!(error, Error::BadAnswer { .. } | Error::WrongSize { .. } | Error::WrongHash { .. });
        assert!(is_refused, "{name}: {error}");
    }
}

#[test]
fn a_stale_range_begins_again() {
    let weights = noise(300_000, 13);
    let hub = FakeHub::start(&[("model.safetensors", &weights, true)]);
    hub.cut(&weights, &[100_000]);
    let blob = format!("/blob/{}", sha256(&weights));
    hub.fault(&blob, [Reply::status(416).header("Content-Range", "bytes */300000")]);
    // And one that sends another range than the one asked.
    let mut other = Reply::status(206).header("Content-Range", "bytes 5-299999/300000").body(&weights[5..]);
    other.cut_after = None;
    hub.cut(&weights, &[100_000]);
    hub.fault(&blob, [other]);
    let mut setup = Setup::hub(&hub.hub.url());
    let acquired = setup.acquire(REPO).unwrap();
    assert_eq!(std::fs::read(acquired.main_file()).unwrap(), weights);
}

#[test]
fn an_expired_signed_address_is_resolved_again() {
    let weights = noise(300_000, 14);
    let hub = FakeHub::start(&[("model.safetensors", &weights, true)]);
    let blob = format!("/blob/{}", sha256(&weights));
    hub.fault(&blob, [Reply::status(403).body(b"<Error>Request has expired</Error>")]);
    let mut setup = Setup::hub(&hub.hub.url());
    assert!(setup.acquire(REPO).is_ok());
    assert_eq!(hub.hub.count("/resolve/"), 2);
}

#[test]
fn external_data_is_what_the_graph_names() {
    let data = noise(100_000, 15);
    let files: [(&str, &[u8], bool); 4] = [
        ("config.json", CONFIG, false),
        ("onnx/model.onnx", b"graph", true),
        ("onnx/model.onnx_data", &data, true),
        ("onnx/weights.bin", b"more", true),
    ];
    let hub = FakeHub::start(&files);
    let mut setup = Setup::hub(&hub.hub.url());
    let names =
        |acquired: hub::Acquired| acquired.files.into_iter().map(|f| f.path.to_string()).collect::<Vec<_>>();

    // Without a reader of graphs the name decides.
    assert_eq!(
        names(setup.acquire(REPO).unwrap()),
        ["config.json", "onnx/model.onnx", "onnx/model.onnx_data"]
    );

    let named = |locations: &'static [&'static str]| {
        move |path: &std::path::Path| {
            assert_eq!(std::fs::read(path).unwrap(), b"graph");
            Ok(locations.iter().map(|location| (*location).to_owned()).collect())
        }
    };
    let weights = named(&["weights.bin", "./weights.bin"]);
    let options = AcquireOptions { external_data: Some(&weights), ..AcquireOptions::default() };
    assert_eq!(
        names(setup.acquire_with(REPO, &options).unwrap()),
        ["config.json", "onnx/model.onnx", "onnx/weights.bin"]
    );

    for (locations, expected) in [
        (&["../../../etc/passwd"] as &'static [&'static str], "not a path inside"),
        (&["/etc/passwd"], "not a path inside"),
        (&["missing.bin"], "needs `onnx/missing.bin`"),
    ] {
        let external = named(locations);
        let options = AcquireOptions { external_data: Some(&external), ..AcquireOptions::default() };
        let error = setup.acquire_with(REPO, &options).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.exit_code(), 11);
    }
}

#[test]
fn shards_are_those_of_the_index() {
    let (one, two) = (noise(50_000, 16), noise(60_000, 17));
    let index =
        br#"{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}"#;
    let (first, second) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    let hub = FakeHub::start(&[
        (first, &one, true),
        (second, &two, true),
        ("model.safetensors.index.json", index, false),
    ]);
    let acquired = Setup::hub(&hub.hub.url()).acquire(REPO).unwrap();
    assert_eq!(acquired.main.as_str(), "model.safetensors.index.json");
    assert_eq!(acquired.files.len(), 3);

    for (index, expected) in [
        (&br#"{"weight_map":{"a":"model-00003-of-00003.safetensors"}}"#[..], "model-00003"),
        (br#"{"weight_map":{"a":"../x.safetensors"}}"#, "../x"),
        (br#"{"weight_map":{}}"#, "empty"),
        (b"not json", "cannot be read"),
    ] {
        let hub = FakeHub::start(&[(first, &one, true), ("model.safetensors.index.json", index, false)]);
        let error = Setup::hub(&hub.hub.url()).acquire(REPO).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn an_empty_file_needs_no_content() {
    let hub = FakeHub::start(&[("model.onnx", b"graph", true), ("LICENSE", b"", false)]);
    let acquired = Setup::hub(&hub.hub.url()).acquire(REPO).unwrap();
    assert_eq!(acquired.file("LICENSE").unwrap().size, 0);
}

#[test]
fn a_full_disk_is_one_clear_error() {
    let weights = noise(300_000, 18);
    let hub = FakeHub::start(&[("model.safetensors", &weights, true)]);
    let mut setup = Setup::hub(&hub.hub.url());
    let blobs = setup.cache().join("models--PekingU--rtdetr_r50vd/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    // Every write to this device says that the disk is full.
    std::os::unix::fs::symlink("/dev/full", blobs.join(format!("{}.incomplete", sha256(&weights)))).unwrap();
    let error = setup.acquire(REPO).unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error:?}");
}

#[test]
fn another_process_is_waited_for() {
    let weights = noise(100_000, 19);
    let hub = FakeHub::start(&[("model.safetensors", &weights, true)]);
    let mut setup = Setup::hub(&hub.hub.url());
    let lock =
        setup.cache().join(".locks/models--PekingU--rtdetr_r50vd").join(format!("{}.lock", sha256(&weights)));
    std::fs::create_dir_all(lock.parent().unwrap()).unwrap();
    let held = std::fs::File::create(&lock).unwrap();
    held.lock().unwrap();
    let blob = setup.cache().join("models--PekingU--rtdetr_r50vd/blobs").join(sha256(&weights));
    let source = hub::Source::resolve(REPO, &setup.config.endpoint).unwrap();
    let client = hub::Client::new(setup.config.clone()).unwrap();
    let mut held = Some(held);
    let mut waited = false;
    // The other process finishes the file, then lets go.
    hub::acquire(&source, &client, &AcquireOptions::default(), &mut |event| {
        if matches!(event, Event::Waiting { .. }) {
            waited = true;
            std::fs::create_dir_all(blob.parent().unwrap()).unwrap();
            std::fs::write(&blob, &weights).unwrap();
            drop(held.take());
        }
        setup.events.push(event);
    })
    .unwrap();
    assert!(waited);
    assert_eq!((setup.cached(), hub.cdn.requests().len()), (1, 0));
}

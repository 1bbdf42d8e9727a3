//! NVIDIA's catalog, as a guest and with keys.

use std::io::Write;
use std::sync::atomic::Ordering;

use hub::{Error, Kind, Variant};

use crate::fake_catalog::{FakeCatalog, Open, Version};
use crate::fake_hub::{noise, sha256};
use crate::server::{Reply, Server};
use crate::setup::Setup;

const MODEL: &str = "nvidia/tao/peoplenet";

fn versions() -> Vec<Version> {
    vec![
        (
            "pruned_onnx_v1",
            vec![
                ("resnet34_peoplenet.onnx", noise(400_000, 1)),
                ("resnet34_peoplenet_int8.txt", b"TRT-8601-EntropyCalibration2\ninput_1: 3c\n".to_vec()),
                ("labels.txt", b"person;bag;face".to_vec()),
                ("nvinfer_config.txt", b"net-scale-factor=0.0039\noffsets=0;0;0\n".to_vec()),
                ("../evil.txt", b"evil".to_vec()),
            ],
        ),
        (
            "deployable_v0",
            vec![
                ("resnet34_peoplenet.etlt", b"encrypted".to_vec()),
                ("resnet34_peoplenet_int8.txt", b"cache".to_vec()),
                ("nvinfer_config.txt", b"tlt-model-key=tlt_encode\ninfer-dims=3;544;960\n".to_vec()),
            ],
        ),
    ]
}

fn setup(catalog: &FakeCatalog, variables: &[(&str, &str)]) -> Setup {
    let url = catalog.server.url();
    let mut all = vec![("NGC_CLI_API_URL", url.as_str()), ("NGC_CLI_AUTH_URL", url.as_str())];
    all.extend(variables);
    Setup::new(&all)
}

#[test]
fn a_public_version_is_read_as_a_guest() {
    for field in ["path", "name"] {
        let catalog = FakeCatalog::start(Open::Everybody, field, versions());
        let mut setup = setup(&catalog, &[]);
        let acquired = setup.acquire(&format!("{MODEL}:pruned_onnx_v1")).unwrap();
        let names: Vec<_> = acquired.files.iter().map(|file| file.path.as_str()).collect();
        let expected =
            ["labels.txt", "nvinfer_config.txt", "resnet34_peoplenet.onnx", "resnet34_peoplenet_int8.txt"];
        assert_eq!(names, expected);
        assert_eq!(acquired.file("resnet34_peoplenet.onnx").unwrap().sha256, sha256(&noise(400_000, 1)));
        assert_eq!(acquired.kind, Kind::Onnx(Variant::Fp32));
        assert_eq!(acquired.revision.as_deref(), Some("pruned_onnx_v1"));
        assert_eq!(acquired.licence.as_deref(), Some("NVIDIA Open"));
        assert!(acquired.log.iter().any(|line| line.starts_with("1 file(s) left out")));

        // The latest one by its page's address; and again from the cache, with and without a network.
        let page = "https://catalog.ngc.nvidia.com/orgs/nvidia/teams/tao/models/peoplenet";
        assert_eq!(setup.acquire(page).unwrap().files, acquired.files);
        assert_eq!(setup.cached(), 4);
        let requests = catalog.server.requests().len();
        setup.config.offline = true;
        assert_eq!(setup.acquire(page).unwrap().files, acquired.files);
        assert_eq!(setup.acquire("nvidia/tao/other:v1").unwrap_err().exit_code(), 10);
        assert_eq!(catalog.server.requests().len(), requests);
    }
}

#[test]
fn wrong_content_is_found_by_the_base64_digest() {
    let catalog = FakeCatalog::start(Open::Everybody, "path", versions());
    let mut setup = setup(&catalog, &[]);
    let acquired = setup.acquire(MODEL).unwrap();
    let local = acquired.main_file();
    let mut damaged = std::fs::read(&local).unwrap();
    damaged[7] ^= 1;
    std::fs::write(&local, &damaged).unwrap();
    setup.config.offline = true;
    assert!(matches!(setup.acquire(MODEL).unwrap_err(), Error::WrongHash { .. }));
    setup.config.offline = false;
    setup.acquire(MODEL).unwrap();
    assert_eq!(sha256(&std::fs::read(&local).unwrap()), sha256(&noise(400_000, 1)));
}

#[test]
fn an_encrypted_model_is_explained_with_a_way_out() {
    let catalog = FakeCatalog::start(Open::Everybody, "path", versions());
    let error = setup(&catalog, &[]).acquire(&format!("{MODEL}:deployable_v0")).unwrap_err();
    assert_eq!(error.exit_code(), 11);
    let Error::Encrypted { command, plain_onnx, .. } = &error else { panic!("{error}") };
    assert_eq!(plain_onnx.as_deref(), Some("nvidia/tao/peoplenet:pruned_onnx_v1"));
    assert_eq!(
        command,
        "tao-converter -k tlt_encode -d 3,544,960 -t int8 -c resnet34_peoplenet_int8.txt \
         -e resnet34_peoplenet.engine resnet34_peoplenet.etlt"
    );
}

#[test]
fn keys_of_both_kinds_open_what_a_guest_may_not() {
    for key in ["legacy-key", "nvapi-good"] {
        let catalog = FakeCatalog::start(Open::KeyHolders, "path", versions());
        let mut with_key =
            setup(&catalog, &[("NGC_CLI_API_KEY", key), ("NGC_CLI_ORG", "nvidia"), ("NGC_CLI_TEAM", "tao")]);
        let acquired = with_key.acquire(MODEL).unwrap();
        assert_eq!(acquired.file("resnet34_peoplenet.onnx").unwrap().sha256, sha256(&noise(400_000, 1)));
        let exchanges = catalog.tokens.load(Ordering::SeqCst);
        assert_eq!(exchanges, usize::from(key == "legacy-key"));
        let asked = catalog.server.requests();
        let exchange = asked.iter().find(|request| request.path == "/token");
        let scope = "service=ngc&scope=group%2Fngc%3Anvidia&scope=group%2Fngc%3Anvidia%2Ftao";
        assert!(exchange.is_none_or(|request| request.query == scope));
        let keyed = asked.iter().filter(|request| request.path.starts_with("/v2/org/"));
        assert!(keyed.into_iter().all(|request| request.header("nv-ngc-org") == Some("nvidia")));
    }
}

#[test]
fn a_token_that_has_run_out_is_exchanged_again() {
    let catalog = FakeCatalog::start(Open::KeyHolders, "path", versions());
    let mut setup = setup(&catalog, &[("NGC_API_KEY", "legacy-key")]);
    let source = hub::Source::resolve(MODEL, &setup.config.endpoint).unwrap();
    let client = hub::Client::new(setup.config.clone()).unwrap();
    hub::acquire(&source, &client, &hub::AcquireOptions::default(), &mut |_| ()).unwrap();
    // The service gives a new token to somebody else: the old one is no longer good.
    catalog.tokens.fetch_add(1, Ordering::SeqCst);
    hub::acquire(&source, &client, &hub::AcquireOptions::default(), &mut |event| setup.events.push(event))
        .unwrap();
    assert_eq!(catalog.tokens.load(Ordering::SeqCst), 3);
}

#[test]
fn refusals_say_what_to_do() {
    let cases = [
        (Open::KeyHolders, "", "NGC_API_KEY"),
        (Open::KeyHolders, "wrong-key", "new key"),
        (Open::KeyHolders, "nvapi-wrong", "new key"),
        (Open::Nobody, "", "accept the terms"),
    ];
    for (open, key, hint) in cases {
        let catalog = FakeCatalog::start(open, "path", versions());
        let error = setup(&catalog, &[("NGC_API_KEY", key)]).acquire(MODEL).unwrap_err();
        assert_eq!(error.exit_code(), 10, "{error}");
        assert!(error.hint().unwrap().contains(hint), "{error}: {:?}", error.hint());
    }
    let catalog = FakeCatalog::start(Open::Everybody, "path", versions());
    let error = setup(&catalog, &[]).acquire(&format!("{MODEL}:nope")).unwrap_err();
    assert_eq!(error.hint().unwrap(), "existing versions: pruned_onnx_v1, deployable_v0");
    assert_eq!(setup(&catalog, &[]).acquire("nvidia/tao/unknown:v1").unwrap_err().exit_code(), 10);
}

fn zip_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn archives_are_unpacked_and_looked_into() {
    let graph = noise(50_000, 2);
    let inner = zip_of(&[("model.onnx", &graph), ("labels.txt", b"a;b")]);
    let outer = zip_of(&[("peoplenet_v1/inner.zip", &inner), ("peoplenet_v1/readme.txt", b"x")]);
    let catalog = FakeCatalog::start(Open::Everybody, "path", vec![("v1", vec![("all.zip", outer)])]);
    let mut setup = setup(&catalog, &[]);
    let acquired = setup.acquire(MODEL).unwrap();
    assert_eq!(acquired.main.as_str(), "peoplenet_v1/inner/model.onnx");
    assert_eq!(std::fs::read(acquired.main_file()).unwrap(), graph);
    assert!(acquired.companion("labels.txt").is_some());
    setup.config.offline = true;
    assert_eq!(setup.acquire(MODEL).unwrap().files, acquired.files);
}

#[test]
fn a_version_without_a_list_of_files_still_has_its_archive() {
    let graph = noise(50_000, 2);
    let whole = zip_of(&[("model.onnx", &graph)]);
    let server = Server::start(move |request| match request.path.rsplit('/').next() {
        Some("files") => Reply::json(&serde_json::json!({ "modelFiles": [] })),
        Some("zip") => Reply::content(request, &whole),
        _ => Reply::json(&serde_json::json!({ "model": { "latestVersionIdStr": "v1" } })),
    });
    let url = server.url();
    let mut setup = Setup::new(&[("NGC_CLI_API_URL", url.as_str())]);
    assert_eq!(std::fs::read(setup.acquire(MODEL).unwrap().main_file()).unwrap(), graph);
}

#[test]
fn an_archive_that_leaves_its_folder_is_refused() {
    let evil = zip_of(&[("model.onnx", b"graph"), ("../../evil.txt", b"evil")]);
    let catalog = FakeCatalog::start(Open::Everybody, "path", vec![("v1", vec![("all.zip", evil)])]);
    let mut setup = setup(&catalog, &[]);
    let error = setup.acquire(MODEL).unwrap_err();
    assert!(matches!(error, Error::Escapes { .. }), "{error}");
    assert_eq!(error.exit_code(), 11);
    let ngc = setup.config.ngc_cache().unwrap().join("models/nvidia/tao/peoplenet");
    let names: Vec<_> = std::fs::read_dir(ngc.join("v1")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name == "evil.txt" || name == "unpacked"), "{names:?}");
}

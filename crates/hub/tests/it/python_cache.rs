//! The cache is the same one that Python uses: what one side downloads, the other finds.
//!
//! Needs a `python3` with `huggingface_hub` on the path, so it is run by hand:
//! `PATH=VENV/bin:$PATH cargo test -p hub -- --ignored python`.

use std::path::Path;
use std::process::Command;

use crate::fake_hub::{FakeHub, REPO, noise};
use crate::setup::Setup;

const FILES: [&str; 3] = ["config.json", "model.safetensors", "onnx/model.onnx"];

fn python(mode: &str, cache: &Path, endpoint: &str, revision: &str) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/python_cache.py");
    let output = Command::new("python3")
        .arg(script)
        .args([mode.as_ref(), cache.as_os_str(), REPO.as_ref(), revision.as_ref()])
        .args(FILES)
        .env("HF_ENDPOINT", endpoint)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn start() -> (FakeHub, Vec<u8>, Vec<u8>) {
    let (weights, graph) = (noise(400_000, 1), noise(200_000, 2));
    let hub = FakeHub::start(&[
        ("config.json", b"{\"model_type\":\"rt_detr\"}", false),
        ("model.safetensors", &weights, true),
        ("onnx/model.onnx", &graph, true),
    ]);
    (hub, weights, graph)
}

#[test]
#[ignore = "needs a python3 with huggingface_hub"]
fn python_finds_what_was_downloaded_here() {
    let (hub, weights, graph) = start();
    let mut setup = Setup::hub(&hub.hub.url());
    for file in ["model.safetensors", "onnx/model.onnx"] {
        setup.acquire(&format!("{}/{REPO}/resolve/main/{file}", hub.hub.url())).unwrap();
    }
    let requests = hub.hub.requests().len();
    let found = python("read", setup.cache(), &hub.hub.url(), "main");
    assert_eq!(std::fs::read(&found[1]).unwrap(), weights);
    assert_eq!(std::fs::read(&found[2]).unwrap(), graph);
    // The library asks its endpoint which agents there are; about the repository it asks nothing.
    let new: Vec<_> =
        hub.hub.requests().split_off(requests).into_iter().filter(|r| r.path.contains(REPO)).collect();
    assert!(new.is_empty(), "{new:?}");
    // Python's own online look-up agrees with the blobs as well and downloads nothing again.
    let downloads = hub.cdn.requests().iter().filter(|r| r.method == "GET").count();
    python("write", setup.cache(), &hub.hub.url(), "main");
    assert_eq!(hub.cdn.requests().iter().filter(|r| r.method == "GET").count(), downloads);
}

#[test]
#[ignore = "needs a python3 with huggingface_hub"]
fn what_python_downloaded_is_found_here() {
    let (hub, weights, _) = start();
    let mut setup = Setup::hub(&hub.hub.url());
    python("write", setup.cache(), &hub.hub.url(), "main");
    let requests = hub.hub.requests().len();
    setup.config.offline = true;
    let options = hub::AcquireOptions { variant: "model.safetensors".parse().unwrap(), ..Default::default() };
    let acquired = setup.acquire_with(REPO, &options).unwrap();
    assert_eq!(std::fs::read(acquired.main_file()).unwrap(), weights);
    assert_eq!(hub.hub.requests().len(), requests);
    // Online, the blobs are taken as they are.
    setup.config.offline = false;
    let downloads = hub.cdn.requests().len();
    setup.acquire_with(REPO, &options).unwrap();
    assert_eq!((hub.cdn.requests().len(), setup.cached()), (downloads, 2));
}

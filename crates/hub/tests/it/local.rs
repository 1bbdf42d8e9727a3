//! Folders and files of this machine.

use std::path::Path;

use hub::{AcquireOptions, Error, Kind, WeightsFormat};

use crate::fake_hub::{noise, sha256};
use crate::setup::Setup;

fn write(root: &Path, files: &[(&str, &[u8])]) {
    for (path, content) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

fn names(acquired: &hub::Acquired) -> Vec<&str> {
    acquired.files.iter().map(|file| file.path.as_str()).collect()
}

#[test]
fn a_folder_is_read_like_a_repository() {
    let mut setup = Setup::new(&[]);
    let root = setup.folder.path().join("shapes");
    let weights = noise(300_000, 1);
    write(
        &root,
        &[
            ("model.safetensors", &weights),
            ("config.json", b"{\"license\":\"apache-2.0\"}"),
            ("preprocessor_config.json", b"{}"),
            ("val/images/0.jpg", b"jpg"),
            ("val/model.onnx", b"not this one"),
        ],
    );
    // A folder is read offline too.
    setup.config.offline = true;
    let acquired = setup.acquire(root.to_str().unwrap()).unwrap();
    assert_eq!(names(&acquired), ["config.json", "model.safetensors", "preprocessor_config.json"]);
    assert_eq!(acquired.kind, Kind::Weights(WeightsFormat::Safetensors));
    assert_eq!(acquired.file("model.safetensors").unwrap().sha256, sha256(&weights));
    assert_eq!((acquired.licence.as_deref(), acquired.revision.as_deref()), (Some("apache-2.0"), None));
    assert_eq!(acquired.source.name(), "shapes");
}

#[test]
fn a_file_brings_its_neighbours() {
    let mut setup = Setup::new(&[]);
    let root = setup.folder.path().join("m");
    write(
        &root,
        &[
            ("README.md", b"---\nlicense: mit\n---\n"),
            ("config.json", b"{}"),
            ("labels.txt", b"car;bicycle"),
            ("onnx/model.onnx", b"graph"),
            ("onnx/model_fp16.onnx", b"half"),
            ("onnx/data/w.bin", b"w"),
            ("best.pt", b"PK"),
            ("model.engine", b"plan"),
            ("photo.jpg", b"jpg"),
            ("old.etlt", b"x"),
        ],
    );
    let at = |name: &str| root.join(name).to_str().unwrap().to_owned();
    let acquired = setup.acquire(&at("onnx/model_fp16.onnx")).unwrap();
    assert_eq!(names(&acquired), ["README.md", "config.json", "labels.txt", "onnx/model_fp16.onnx"]);
    assert_eq!(acquired.companion("config.json").unwrap().path.as_str(), "config.json");
    assert_eq!(acquired.licence.as_deref(), Some("mit"));
    assert_eq!(acquired.main_file(), root.join("onnx/model_fp16.onnx"));
    let weights = setup.acquire(&at("best.pt")).unwrap();
    assert_eq!(weights.kind, Kind::Weights(WeightsFormat::PytorchPt));

    let external = |_: &Path| Ok(vec!["data/w.bin".to_owned()]);
    let options = AcquireOptions { external_data: Some(&external), ..AcquireOptions::default() };
    let acquired = setup.acquire_with(&at("onnx/model.onnx"), &options).unwrap();
    assert!(names(&acquired).contains(&"onnx/data/w.bin"));

    assert!(matches!(setup.acquire(&at("photo.jpg")).unwrap_err(), Error::BadSource { .. }));
    assert!(setup.acquire(&at("model.engine")).unwrap_err().to_string().contains("TensorRT engine"));
    assert!(matches!(setup.acquire(&at("old.etlt")).unwrap_err(), Error::Encrypted { .. }));
    assert!(matches!(setup.acquire(&at("none.onnx")).unwrap_err(), Error::NoSuchPath { .. }));
}

#[test]
fn a_folder_without_a_model_says_what_it_holds() {
    let mut setup = Setup::new(&[]);
    let root = setup.folder.path().join("m");
    write(&root, &[("a.gguf", b"x"), ("b.txt", b"y")]);
    let error = setup.acquire(root.to_str().unwrap()).unwrap_err();
    assert_eq!(error.exit_code(), 11);
    assert!(error.to_string().contains("2 files (1 .gguf, 1 .txt)"), "{error}");
}

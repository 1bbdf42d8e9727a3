//! Wrong input: one clear error, the documented exit code, a way out, nothing left behind.

use std::fs;
use std::path::Path;

use crate::program::{Ran, example, sightline};

/// A copy of the example's small files, with the weights linked, to be damaged.
fn damaged(home: &Path, damage: impl FnOnce(&Path)) -> String {
    let folder = home.join("model");
    fs::create_dir(&folder).unwrap();
    for name in ["config.json", "preprocessor_config.json", "model.safetensors"] {
        fs::copy(example().join(name), folder.join(name)).unwrap();
    }
    damage(&folder);
    folder.to_str().unwrap().to_owned()
}

fn config(folder: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let path = folder.join("config.json");
    let mut config = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    fs::write(path, serde_json::to_vec(&config).unwrap()).unwrap();
}

#[test]
fn a_source_that_is_no_source_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let cases = [
        "../../etc/passwd",
        "owner/../name",
        "https://example.com/a/b",
        "a b/c",
        "no-such-folder/model.onnx",
    ];
    for source in cases {
        let ran = Ran::of(sightline(home.path()).args(["import", source]));
        assert_eq!(ran.code, Some(10), "{source}: {}", ran.stderr);
        assert!(ran.stderr.contains("hint:"), "{source}: {}", ran.stderr);
        assert!(ran.stdout.is_empty());
    }
}

#[test]
fn damage_is_one_error_with_its_exit_code() {
    type Damage = fn(&Path);
    let cases: &[(&str, Damage, i32, &str)] = &[
        (
            "a classifier",
            |folder| {
                config(folder, |c| c["architectures"] = serde_json::json!(["ResNetForImageClassification"]));
            },
            12,
            "ResNetForImageClassification",
        ),
        (
            "no labels",
            |folder| {
                config(folder, |c| {
                    let c = c.as_object_mut().unwrap();
                    c.remove("id2label");
                    c.remove("label2id");
                });
            },
            13,
            "label",
        ),
        (
            "truncated weights",
            |folder| {
                let path = folder.join("model.safetensors");
                let bytes = fs::read(&path).unwrap();
                fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
            },
            11,
            "model.safetensors",
        ),
        (
            "no weights",
            |folder| fs::remove_file(folder.join("model.safetensors")).unwrap(),
            11,
            "safetensors",
        ),
        (
            "another depth than the weights have",
            |folder| {
                config(folder, |c| c["decoder_layers"] = serde_json::json!(4));
            },
            20,
            "decoder",
        ),
        (
            "a configuration that is no JSON",
            |folder| fs::write(folder.join("config.json"), "{").unwrap(),
            11,
            "config.json",
        ),
    ];
    for (name, damage, code, word) in cases {
        let home = tempfile::tempdir().unwrap();
        let source = damaged(home.path(), damage);
        let ran = Ran::of(sightline(home.path()).args(["import", &source, "--out", "out"]));
        assert_eq!(ran.code, Some(*code), "{name}: {}", ran.stderr);
        assert!(ran.stderr.contains(word), "{name}: {}", ran.stderr);
        assert!(!home.path().join("out/model").exists(), "{name} left a package");
        let exported = Ran::of(sightline(home.path()).args(["export", &source, "--out", "alone"]));
        assert_eq!(exported.code, Some(*code), "{name}: {}", exported.stderr);
        let left = fs::read_dir(home.path().join("alone")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{name} left a file");
    }
}

#[test]
fn a_folder_that_is_no_package_is_never_replaced() {
    let home = tempfile::tempdir().unwrap();
    let thesis = home.path().join("models/shapes/chapter.txt");
    fs::create_dir_all(thesis.parent().unwrap()).unwrap();
    fs::write(&thesis, "years").unwrap();
    let ran = Ran::of(sightline(home.path()).args(crate::program::import_arguments()));
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(thesis.exists());
}

#[test]
fn wrong_arguments_are_code_2_and_help_names_every_exit_code() {
    let home = tempfile::tempdir().unwrap();
    for arguments in [&["import"][..], &["inspect"], &["nonsense"], &["import", "x/y", "--size", "0"]] {
        assert_eq!(Ran::of(sightline(home.path()).args(arguments)).code, Some(2), "{arguments:?}");
    }
    let help = Ran::of(sightline(home.path()).arg("--help")).stdout;
    for code in ["0", "1", "2", "10", "11", "12", "13", "20", "30", "40"] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(&format!("{code} "))), "{code}");
    }
}

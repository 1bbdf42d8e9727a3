//! Triton: the repository that an import makes, by NVIDIA's own programs; versions added to a repository, models removed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pipeline::deploy::Manifest;
use serde_json::Value;

use crate::program::{Ran, example, sightline};

fn has_ending(path: &str, ending: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == ending)
}

/// A package of one of the examples.
fn import(home: &Path, example: &Path) -> PathBuf {
    let ran =
        Ran::of(sightline(home).arg("import").arg(example).args(["--seconds", "1", "--max-batch", "4"]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    home.join("models").join(example.file_name().unwrap())
}

fn dense() -> PathBuf {
    example().with_file_name("shapes-dense")
}

fn deploy(home: &Path, package: &Path, more: &[&str]) -> Ran {
    Ran::of(sightline(home).arg("deploy").arg(package).args(["--target", "triton"]).args(more))
}

/// Every file below a folder with its bytes, by path.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            found.extend(
                files(&entry.path()).into_iter().map(|(path, bytes)| (format!("{name}/{path}"), bytes)),
            );
        } else {
            found.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    found
}

#[test]
fn versions_are_added_and_models_removed() {
    let home = tempfile::tempdir().unwrap();
    let package = import(home.path(), &dense());
    let repository = home.path().join("repository");
    fs::create_dir(&repository).unwrap();
    let into = ["--into", "repository"];

    let first = deploy(home.path(), &package, &[&into[..], &["--json"]].concat()).json();
    let of = |answer: &Value, model: &str| {
        answer["models"].as_array().unwrap().iter().find(|one| one["model"] == model).unwrap().clone()
    };
    for suffix in ["", "_end2end", "_raw", "_dali", "_ensemble"] {
        let model = of(&first, &format!("shapes-dense{suffix}"));
        assert_eq!((&model["version"], &model["configured"]), (&1.into(), &true.into()), "{model}");
    }
    let left = of(&first, "shapes-dense_trt");
    assert!(left["version"].is_null() && left["left_out"].as_str().unwrap().contains("build.sh"), "{left}");
    assert!(!repository.join("shapes-dense_trt").exists());
    // Nothing but models: a server does not start beside a folder that is none.
    let folders = fs::read_dir(&repository).unwrap().filter(|one| one.as_ref().unwrap().path().is_dir());
    assert_eq!(folders.count(), 5);

    // What the user tuned stays, and what is there stays as it is.
    let config = repository.join("shapes-dense/config.pbtxt");
    let tuned = fs::read_to_string(&config).unwrap().replace("count: 1", "count: 3");
    fs::write(&config, &tuned).unwrap();
    let before = files(&repository);
    let second = deploy(home.path(), &package, &[&into[..], &["--json"]].concat()).json();
    let model = of(&second, "shapes-dense");
    assert_eq!((&model["version"], &model["configured"]), (&2.into(), &false.into()), "{model}");
    assert_eq!(model["served"], serde_json::json!([1, 2]));
    let after = files(&repository);
    assert!(before.iter().all(|(path, bytes)| after.get(path) == Some(bytes)));
    assert_eq!(after["shapes-dense/2/model.onnx"], after["shapes-dense/1/model.onnx"]);

    // Asked for, the configuration is written anew, and the older one is kept.
    let third = deploy(
        home.path(),
        &package,
        &["--into", "repository", "--tier", "latency", "--versions", "latest:1", "--json"],
    );
    let model = of(&third.json(), "shapes-dense");
    assert_eq!((&model["version"], &model["served"]), (&3.into(), &serde_json::json!([3])));
    assert!(fs::read_to_string(&config).unwrap().contains("preserve_ordering: true"));
    assert_eq!(fs::read_to_string(config.with_extension("pbtxt.older")).unwrap(), tuned);

    let clean =
        |more: &[&str]| Ran::of(sightline(home.path()).args(["clean", "--triton", "repository"]).args(more));
    let before = files(&repository);
    let planned = clean(&["--dry-run"]);
    assert!(
        planned.stdout.contains("would remove repository/shapes-dense/1/model.onnx"),
        "{}",
        planned.stdout
    );
    assert_eq!(files(&repository), before);
    let cleaned = clean(&["--json"]).json();
    assert_eq!(cleaned["files"].as_array().unwrap().len(), 9);
    let after = files(&repository);
    assert!(!after.keys().any(|path| has_ending(path, "onnx")), "{:?}", after.keys());
    let kept = before.iter().filter(|(path, _)| !has_ending(path, "onnx"));
    assert!(kept.clone().count() > 20 && kept.clone().all(|(path, bytes)| after.get(path) == Some(bytes)));
    let backup = files(Path::new(cleaned["backup"].as_str().unwrap()));
    let configs = |files: &BTreeMap<String, Vec<u8>>| -> BTreeMap<String, Vec<u8>> {
        files.clone().into_iter().filter(|(path, _)| has_ending(path, "pbtxt")).collect()
    };
    assert_eq!(backup, configs(&before));
    assert_eq!(clean(&[]).code, Some(0));
    // Numbers go on where they were: a client that asked for version 3 does not get another model.
    let fourth = deploy(home.path(), &package, &[&into[..], &["--json"]].concat()).json();
    assert_eq!(of(&fourth, "shapes-dense")["version"], 4);
}

#[test]
fn a_model_that_is_another_is_never_touched() {
    let home = tempfile::tempdir().unwrap();
    let package = import(home.path(), &dense());
    let repository = home.path().join("repository");
    let into = ["--into", "repository"];
    assert_eq!(deploy(home.path(), &package, &into).code, Some(2));
    fs::write(&repository, "a file").unwrap();
    let refused = deploy(home.path(), &package, &into);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("is not a folder"), "{}", refused.stderr);
    fs::remove_file(&repository).unwrap();

    let there = repository.join("shapes-dense_raw");
    fs::create_dir_all(there.join("1")).unwrap();
    fs::write(there.join("1/model.plan"), "years").unwrap();
    for (config, told) in [
        ("platform: \"tensorrt_plan\"\n", "backend"),
        ("backend: \"onnxruntime\"\nmax_batch_size: 0\n", "batching"),
        ("backend: 'onnxruntime' input { name: \"other\" }", "inputs"),
        ("backend: \"onnxruntime", "line 1"),
    ] {
        fs::write(there.join("config.pbtxt"), config).unwrap();
        let mut before = files(&repository);
        let refused = deploy(home.path(), &package, &into);
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(
            refused.stderr.contains("shapes-dense_raw") && refused.stderr.contains(told),
            "{}",
            refused.stderr
        );
        let mut after = files(&repository);
        for files in [&mut before, &mut after] {
            files.remove(".sightline.lock");
        }
        assert_eq!(after, before, "{told}");
    }
    fs::write(there.join("config.pbtxt"), "backend: \"onnxruntime\"").unwrap();
    fs::write(there.join("labels.txt"), "cat\ndog\n").unwrap();
    let refused = deploy(home.path(), &package, &into);
    assert!(refused.code == Some(2) && refused.stderr.contains("classes"), "{}", refused.stderr);

    for arguments in [
        &["deploy", "models/shapes-dense", "--into", "repository"][..],
        &["deploy", "models/shapes-dense", "--target", "onnxruntime", "--tier", "latency"],
        &["deploy", "models/shapes-dense", "--target", "triton", "--tier", "fast"],
        &["deploy", "models/shapes-dense", "--target", "triton", "--versions", "latest:0"],
        &["clean", "--triton", "models/nothing"],
        &["clean", "--triton", "models"],
    ] {
        let ran = Ran::of(sightline(home.path()).args(arguments));
        assert_eq!(ran.code, Some(2), "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn what_a_killed_run_left_is_removed_and_nothing_of_it_is_a_version() {
    let home = tempfile::tempdir().unwrap();
    let package = import(home.path(), &dense());
    let repository = home.path().join("repository");
    fs::create_dir(&repository).unwrap();
    for folder in [home.path(), &repository] {
        let left = folder.join(".sightline-repository-x1y2z3/shapes-dense");
        fs::create_dir_all(&left).unwrap();
        fs::write(left.join("model.onnx"), "a half").unwrap();
    }
    fs::create_dir(home.path().join(".sightline-other-x1y2z3")).unwrap();
    let ran = deploy(home.path(), &package, &["--into", "repository"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let left = |folder: &Path| {
        let names = fs::read_dir(folder).unwrap().map(|one| one.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(".sightline-")).collect::<Vec<_>>()
    };
    assert_eq!((left(home.path()), left(&repository)), (vec![".sightline-other-x1y2z3".to_owned()], vec![]));
}

#[test]
fn engines_appear_where_they_were_built() {
    let home = tempfile::tempdir().unwrap();
    let package = import(home.path(), &dense());
    fs::create_dir_all(package.join("benchmarks/engines")).unwrap();
    fs::write(package.join("benchmarks/engines/shapes-dense_dynamic_b4.engine"), "plan of the network")
        .unwrap();
    // As `build.sh` leaves it.
    fs::create_dir_all(package.join("triton/shapes-dense_trt_end2end/1")).unwrap();
    fs::write(package.join("triton/shapes-dense_trt_end2end/1/model.plan"), "plan end to end").unwrap();
    let ran = deploy(home.path(), &package, &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let all = files(&package.join("triton"));
    assert_eq!(all["shapes-dense_trt/1/model.plan"], b"plan of the network");
    assert_eq!(all["shapes-dense_trt_end2end/1/model.plan"], b"plan end to end");
    assert!(all.contains_key("shapes-dense_trt/config.pbtxt"));
    let ensemble = String::from_utf8(all["shapes-dense_ensemble/config.pbtxt"].clone()).unwrap();
    assert!(ensemble.contains("\"shapes-dense_trt_end2end\""), "{ensemble}");
    assert!(!all.keys().any(|path| path.contains(".partial-")), "{:?}", all.keys());
    // The manifest says what the files are now.
    let manifest = Manifest::from_json(&fs::read_to_string(package.join("manifest.json")).unwrap()).unwrap();
    assert!(manifest.artefacts.iter().any(|one| one.path == "triton/shapes-dense_trt/1/model.plan"));
    let verified = Ran::of(sightline(home.path()).arg("verify").arg(&package).args(["--limit", "1"]));
    assert_eq!(verified.code, Some(0), "{}", verified.stdout);

    fs::create_dir(home.path().join("repository")).unwrap();
    let added = deploy(home.path(), &package, &["--into", "repository", "--json"]).json();
    assert!(added["models"].as_array().unwrap().iter().all(|one| one["version"] == 1), "{added}");
    assert!(home.path().join("repository/shapes-dense_trt/1/model.plan").is_file());
}

/// The Python that holds NVIDIA's programs; CONTRIBUTING.md says what has to be in it.
#[expect(clippy::disallowed_methods, reason = "a test's own switch, not the program's")]
#[expect(clippy::print_stdout, reason = "for whoever reads why something was skipped")]
fn python(test: &str) -> Option<PathBuf> {
    let python = std::env::var_os("SIGHTLINE_TRITON_PYTHON").map(PathBuf::from);
    if python.is_none() {
        println!("skipped: {test}: `SIGHTLINE_TRITON_PYTHON` names no Python");
    }
    python
}

fn check(python: &Path, arguments: &[&str]) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/check_triton.py");
    let ran = Ran::of(Command::new(python).arg(script).args(arguments));
    assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn a_real_server_takes_every_configuration_and_finds_the_same_boxes() {
    let Some(python) = python("a_real_server_takes_every_configuration_and_finds_the_same_boxes") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let images: Vec<PathBuf> = ["000000", "000001"].iter().map(|name| lossless(home.path(), name)).collect();
    for example in [example(), dense()] {
        let package = import(home.path(), &example);
        let repository = package.join("triton");
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let parsed = check(&python, &["schema", &path(&repository)]);
        assert!(parsed["parsed"].as_u64().unwrap() >= 19, "{parsed}");

        let refused = check(&python, &["refused", &path(&repository)]);
        let refused = refused.as_object().unwrap();
        assert_eq!(refused.len(), 7);
        for (model, said) in refused {
            let said = said.as_str().unwrap();
            assert!(said.contains("unable to find backend library for backend"), "{model}: {said}");
        }

        let client = path(&package.join("scripts/triton/client.py"));
        let (folder, shown) = (path(&repository), images.iter().map(|image| path(image)).collect::<Vec<_>>());
        let arguments = ["served", &folder, &client].into_iter().chain(shown.iter().map(String::as_str));
        let served = check(&python, &arguments.collect::<Vec<_>>());
        let tiers = served["ready"].as_object().unwrap();
        assert_eq!(tiers.len(), 4);
        for (tier, models) in tiers {
            let models = models.as_object().unwrap();
            assert!(models.len() == 7 && models.values().all(|state| state == "READY"), "{tier}: {models:?}");
        }
        let expected = detected(home.path(), &package, &images);
        let found = served["found"].as_object().unwrap();
        assert_eq!(found.len(), 6, "{:?}", found.keys());
        for (model, answers) in found {
            for (answer, expected) in answers.as_array().unwrap().iter().zip(&expected) {
                same_boxes(model, answer, expected, model.ends_with("_raw"));
            }
        }
    }
}

/// A validation image as PNG: two decoders of JPEG differ by themselves, and boxes then by half a pixel.
fn lossless(folder: &Path, name: &str) -> PathBuf {
    let file = fs::read(example().join("val/images").join(name).with_extension("jpg")).unwrap();
    let image = pipeline::detect::Image::decode(&file).unwrap();
    let path = folder.join(name).with_extension("png");
    fs::write(&path, pipeline::detect::encode_png(&image).unwrap()).unwrap();
    path
}

/// What the program itself finds.
fn detected(home: &Path, package: &Path, images: &[PathBuf]) -> Vec<Value> {
    let found = Ran::of(sightline(home).arg("detect").arg(package).args(images).arg("--json")).json();
    let images = found["images"].as_array().or(found.as_array()).unwrap().clone();
    assert!(images.iter().any(|image| image["detections"].as_array().unwrap().len() > 1), "{images:?}");
    images
}

fn same_boxes(model: &str, answer: &Value, expected: &Value, is_same_pixels: bool) {
    let [found, expected] = [answer, expected].map(|one| one["detections"].as_array().unwrap().clone());
    assert_eq!(found.len(), expected.len(), "{model}: {found:?} {expected:?}");
    // Pillow in the client and DALI in the server are a level off here and there; the graph's own preprocessing is not.
    let (score, pixels) = if is_same_pixels { (1e-5, 0.01) } else { (0.003, 0.2) };
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!((&found["label"], &found["name"]), (&expected["id"], &expected["label"]), "{model}");
        let difference = found["score"].as_f64().unwrap() - expected["score"].as_f64().unwrap();
        assert!(difference.abs() < score, "{model}: {found} {expected}");
        for (a, b) in found["box"].as_array().unwrap().iter().zip(expected["box"].as_array().unwrap()) {
            assert!(
                (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < pixels,
                "{model}: {found} {expected}"
            );
        }
    }
}

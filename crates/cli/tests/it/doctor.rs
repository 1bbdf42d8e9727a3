//! `doctor` on this machine, and on machines that scripts pretend to be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::program::{Ran, import_arguments, sightline};

/// Programs that say what the real ones say.
const SERVER: &[(&str, &str)] = &[
    (
        "nvidia-smi",
        r#"case "$1" in
  --query-gpu=memory*) echo 20000 ;;
  --query-gpu*) echo "NVIDIA L4, 23034, 580.159.04, 8.9" ;;
  *) echo "| NVIDIA-SMI 580.159.04   Driver Version: 580.159.04   CUDA Version: 13.0   |" ;;
esac"#,
    ),
    ("trtexec", r#"echo "&&&& RUNNING TensorRT.trtexec [TensorRT v8601] # trtexec --help""#),
    ("deepstream-app", "true"),
    (
        "gst-inspect-1.0",
        r#"case "$1$2" in
  --version) printf 'gst-inspect-1.0 version 1.22.0\nGStreamer 1.22.0\n' ;;
  --existsdecodebin | --existsvideoconvert | --existstheoraenc | --existsoggmux) ;;
  *) exit 1 ;;
esac"#,
    ),
];

/// A folder with these programs, as the whole `PATH` but for a shell.
fn programs(home: &Path, programs: &[(&str, &str)]) -> String {
    let bin = home.join("bin");
    fs::create_dir_all(&bin).unwrap();
    for (name, script) in programs {
        let file = bin.join(name);
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    bin.display().to_string()
}

fn doctor(home: &Path, path: &str, arguments: &[&str]) -> Ran {
    Ran::of(sightline(home).env("PATH", path).arg("doctor").args(arguments))
}

/// What it printed, whatever its exit code.
fn printed(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap()
}

fn finding<'v>(json: &'v Value, name: &str) -> &'v Value {
    json["machine"].as_array().unwrap().iter().find(|finding| finding["name"] == name).unwrap()
}

#[test]
fn this_machine_is_examined() {
    let home = tempfile::tempdir().unwrap();
    let ran = Ran::of(sightline(home.path()).arg("doctor"));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("possible here      import"), "{}", ran.stdout);
}

#[test]
fn an_empty_machine_says_what_repairs_it() {
    let home = tempfile::tempdir().unwrap();
    let path = programs(home.path(), &[]);
    let ran = doctor(home.path(), &path, &["--for", "import", "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let ran = doctor(home.path(), &path, &["--for", "import,build,video", "--json"]);
    assert_eq!(ran.code, Some(30), "{}", ran.stderr);
    let json = printed(&ran);
    assert_eq!(json["passed"], false);
    for (name, words) in [("trtexec", "apt-get install tensorrt"), ("GStreamer", "gstreamer1.0-plugins-base")]
    {
        let found = finding(&json, name);
        assert_eq!(found["state"], "missing", "{found}");
        assert!(found["repair"].as_str().unwrap().contains(words), "{found}");
    }
    let ran = doctor(home.path(), &path, &["--for", "build"]);
    assert!(ran.stdout.contains("build wants: GPU, trtexec, TensorRT"), "{}", ran.stdout);
    let ran = doctor(home.path(), &path, &["--for", "flying"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("python-exporter, build"), "{}", ran.stderr);
}

#[test]
fn a_server_can_do_what_its_programs_say() {
    let home = tempfile::tempdir().unwrap();
    let path = programs(home.path(), SERVER);
    let ran = doctor(home.path(), &path, &["--for", "import,video", "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let json = ran.json();
    assert_eq!(
        finding(&json, "GPU")["found"],
        "NVIDIA L4, 23034 MiB, driver 580.159.04, compute capability 8.9"
    );
    assert_eq!(finding(&json, "CUDA")["found"], "the driver runs CUDA up to 13.0");
    assert!(finding(&json, "trtexec")["found"].as_str().unwrap().starts_with("TensorRT 8.6.1"));
    assert_eq!(finding(&json, "video encoder")["found"], "Theora on the processor; no NVENC here");
}

#[test]
fn an_engine_of_another_tensorrt_is_explained() {
    let home = tempfile::tempdir().unwrap();
    let path = programs(home.path(), SERVER);
    let imported = Ran::of(sightline(home.path()).args(import_arguments()));
    assert_eq!(imported.code, Some(0), "{}", imported.stderr);
    let ran = doctor(home.path(), &path, &["models/shapes", "--json"]);
    assert_eq!((ran.code, &ran.json()["engines"][0]["state"]), (Some(0), &Value::from("missing")));

    let engines = home.path().join("models/shapes/benchmarks/engines");
    fs::create_dir_all(&engines).unwrap();
    for (name, version) in [("own", [8, 6, 1, 6]), ("newer", [10, 3, 0, 30])] {
        let mut plan = vec![0_u8; 64];
        plan[..4].copy_from_slice(b"ftrt");
        plan[24..28].copy_from_slice(&version);
        fs::write(engines.join(format!("{name}.engine")), plan).unwrap();
    }
    let ran = doctor(home.path(), &path, &["models/shapes", "--json"]);
    assert_eq!(ran.code, Some(30), "{}", ran.stderr);
    let json = printed(&ran);
    let found: Vec<_> = json["engines"].as_array().unwrap().iter().map(|engine| &engine["state"]).collect();
    assert_eq!(found, ["wrong", "ok"], "{json:#}");
    let newer = &json["engines"][0];
    assert!(newer["found"].as_str().unwrap().contains("of TensorRT 10.3.0.30, here is 8.6.1"), "{newer}");
    assert_eq!(newer["repair"], "sightline build models/shapes");
    let file = "models/shapes/benchmarks/engines/own.engine";
    assert_eq!(doctor(home.path(), &path, &[file]).code, Some(0));
    assert_eq!(doctor(home.path(), &path, &["models"]).code, Some(11));
}

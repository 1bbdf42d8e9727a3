//! `run local` with the `GStreamer` of this machine: a video made of the example's images, one of nothing, and none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Ran, example, import_arguments, sightline};

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Whether all that the tests need is here; says by name what is missing.
#[expect(clippy::print_stdout, reason = "for whoever reads why something was skipped")]
fn is_here(test: &str) -> bool {
    let has = |element: &&str| {
        Command::new("gst-inspect-1.0")
            .args(["--exists", element])
            .status()
            .is_ok_and(|status| status.success())
    };
    let needed =
        ["multifilesrc", "jpegdec", "videotestsrc", "theoraenc", "theoradec", "oggmux", "rawvideoparse"];
    let missing: Vec<&str> = needed.into_iter().filter(|element| !has(element)).collect();
    if !missing.is_empty() {
        println!("skipped: {test}: GStreamer or its elements are not here: {}", missing.join(", "));
    }
    missing.is_empty()
}

/// Runs a pipeline.
fn gst(pipeline: &str) -> Vec<u8> {
    let output = Command::new("gst-launch-1.0").arg("-q").args(pipeline.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Frames that a video holds, decoded without us.
fn frames_in(video: &Path, (width, height): (usize, usize)) -> usize {
    let raw = gst(&format!(
        "filesrc location={} ! decodebin ! videoconvert ! video/x-raw,format=RGBA,width={width},height={height} ! fdsink fd=1",
        video.display()
    ));
    assert_eq!(raw.len() % (width * height * 4), 0);
    raw.len() / (width * height * 4)
}

struct Bench {
    home: TempDir,
}

impl Bench {
    /// A package and a video of the example's 24 images, stretched to an odd width.
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let ran = Ran::of(sightline(home.path()).args(import_arguments()));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let bench = Self { home };
        bench.encode(&format!(
            "multifilesrc location={}/val/images/%06d.jpg caps=image/jpeg,framerate=10/1 ! jpegdec ! videoconvert ! \
             videoscale add-borders=false ! video/x-raw,width=642,height=480",
            example().display()
        ), "shapes.ogv");
        bench
    }

    fn path(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }

    fn encode(&self, source: &str, name: &str) {
        gst(&format!(
            "{source} ! theoraenc quality=60 ! oggmux ! filesink location={}",
            self.path(name).display()
        ));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = sightline(self.home.path());
        command.env("PATH", PATH).args(["run", "local", "models/shapes"]).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    /// Names in a folder of the home that a run must not leave.
    fn partial(&self, folder: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .filter(|path| path.display().to_string().contains(".partial-"))
            .collect()
    }
}

/// Label and numbers of each line.
fn kitti(text: &str) -> Vec<(String, Vec<f64>)> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words.len(), 16, "{line}");
        (words[0].to_owned(), words[1..].iter().map(|word| word.parse().unwrap()).collect())
    };
    text.lines().map(line).collect()
}

#[test]
fn a_video_becomes_kitti_files_a_drawn_video_and_a_passed_gate() {
    if !is_here("a_video_becomes_kitti_files_a_drawn_video_and_a_passed_gate") {
        return;
    }
    let bench = Bench::new();
    let annotations = example().join("val/instances.json");
    let ran = bench.run(&[
        "--video",
        "shapes.ogv",
        "--annotations",
        annotations.to_str().unwrap(),
        "--extract",
        "frames",
        "--confidence",
        "0.3",
        "--json",
    ]);
    let json = ran.json();
    assert_eq!((&json["frames"], &json["width"], &json["height"]), (&24.into(), &642.into(), &480.into()));
    assert_eq!((&json["gate"]["passed"], &json["gate"]["known"]["frames"]), (&true.into(), &24.into()));
    let known = |name: &str| json["gate"]["known"][name].as_f64().unwrap();
    assert!(known("found") >= 0.5 * known("objects") && known("objects") > 24.0, "{json}");

    // What stands in the files is what `detect` finds in the same frames.
    let found = Ran::of(sightline(bench.home.path()).args([
        "detect",
        "models/shapes",
        "frames",
        "--confidence",
        "0.3",
        "--json",
    ]))
    .json();
    let found: Vec<Value> = found.as_array().unwrap().clone();
    assert_eq!(found.len(), 24);
    let mut objects = 0;
    for (number, image) in found.iter().enumerate() {
        let file = bench.path(&format!("models/shapes/samples/kitti_output/00_000_{number:06}.txt"));
        let lines = kitti(&fs::read_to_string(file).unwrap());
        let detections = image["detections"].as_array().unwrap();
        assert_eq!(lines.len(), detections.len(), "frame {number}");
        for ((label, fields), detection) in lines.iter().zip(detections) {
            assert_eq!(label, detection["label"].as_str().unwrap());
            assert!((fields[14] - detection["score"].as_f64().unwrap()).abs() < 1e-5);
            for (at, limit) in [(0, 642.0), (1, 480.0), (2, 642.0), (3, 480.0)] {
                let expected = detection["box"][at].as_f64().unwrap().clamp(0.0, limit);
                assert!((fields[3 + at] - expected).abs() < 1e-3, "frame {number}: {fields:?}");
            }
        }
        objects += lines.len();
    }
    assert_eq!(json["objects"], objects);

    let video = bench.path("models/shapes/samples/shapes_video.ogv");
    assert_eq!(frames_in(&video, (642, 480)), 24);
    // Boxes are drawn: the pictures differ from those that came in.
    assert_ne!(fs::read(&video).unwrap(), fs::read(bench.path("shapes.ogv")).unwrap());
    let measured: Value =
        serde_json::from_slice(&fs::read(bench.path("models/shapes/measurements.json")).unwrap()).unwrap();
    assert_eq!(measured["video"]["capture"]["artefact"], "samples/shapes_video.ogv");
    let report = fs::read_to_string(bench.path("models/shapes/reports/benchmark_report.md")).unwrap();
    for words in
        ["Without DeepStream", "theoraenc OGV (NVENC unavailable)", "sightline run local models/shapes"]
    {
        assert!(report.contains(words), "{words}");
    }
    assert_eq!(bench.partial("models/shapes/samples"), Vec::<PathBuf>::new());

    // A second run replaces the first; every third of the first nine frames is looked at.
    let ran = bench.run(&["--video", "shapes.ogv", "--frames", "9", "--every", "3", "--json"]);
    let again = ran.json();
    assert_eq!((&again["frames"], &again["gate"]["frames"]), (&9.into(), &3.into()));
    let mut names: Vec<String> = fs::read_dir(bench.path("models/shapes/samples/kitti_output"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["00_000_000000.txt", "00_000_000003.txt", "00_000_000006.txt"]);
    assert_eq!(frames_in(&video, (642, 480)), 9);

    // An import of the same model keeps what was recorded.
    let imported = Ran::of(sightline(bench.home.path()).args(import_arguments()));
    assert_eq!(imported.code, Some(0), "{}", imported.stderr);
    let kept: Value =
        serde_json::from_slice(&fs::read(bench.path("models/shapes/measurements.json")).unwrap()).unwrap();
    assert_eq!((&kept["video"]["frames_read"], video.is_file()), (&9.into(), true));

    // Asked for more than there is to find, the gate is not passed.
    let text =
        fs::read_to_string(&annotations).unwrap().replace("\"file_name\": \"0000", "\"file_name\": \"1000");
    fs::write(bench.path("other.json"), text).unwrap();
    let ran = bench.run(&[
        "--video",
        "shapes.ogv",
        "--frames",
        "2",
        "--annotations",
        "other.json",
        "--out",
        "out",
        "--no-video",
    ]);
    assert_eq!(ran.code, Some(40), "{}", ran.stderr);
    assert!(ran.stdout.contains("0 of 0 objects found in 0 frames"), "{}", ran.stdout);
    assert!(bench.path("out/kitti_output/00_000_000001.txt").is_file());
}

#[test]
fn wrong_videos_have_one_clear_outcome_each() {
    if !is_here("wrong_videos_have_one_clear_outcome_each") {
        return;
    }
    let bench = Bench::new();
    bench.encode("videotestsrc pattern=black num-buffers=5 ! video/x-raw,width=320,height=240", "black.ogv");
    let ran = bench.run(&["--video", "black.ogv", "--out", "black", "--confidence", "0.5"]);
    assert_eq!(ran.code, Some(40), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("in 0 of 5 frames") && ran.stdout.contains("NOT passed"), "{}", ran.stdout);
    let files: Vec<_> = fs::read_dir(bench.path("black/kitti_output")).unwrap().flatten().collect();
    assert!(files.len() == 5 && files.iter().all(|file| file.metadata().unwrap().len() == 0));

    let whole = fs::read(bench.path("shapes.ogv")).unwrap();
    fs::write(bench.path("cut.ogv"), &whole[..whole.len() / 2]).unwrap();
    fs::write(bench.path("text.mp4"), "no video at all\n").unwrap();
    fs::write(bench.path("empty.ogv"), "").unwrap();
    let cases = [
        ("cut.ogv", 11, "`cut.ogv`: `gst-launch-1.0`: the file was cut off"),
        ("text.mp4", 11, "Could not determine type of stream"),
        ("empty.ogv", 11, "error: `empty.ogv`"),
        ("nothing.mp4", 10, "nothing.mp4"),
        ("models", 2, "models"),
    ];
    for (video, code, words) in cases {
        let ran = bench.run(&["--video", video, "--out", "wrong"]);
        assert_eq!(ran.code, Some(code), "{video}: {}", ran.stderr);
        assert!(ran.stderr.contains(words), "{video}: {}", ran.stderr);
        assert_eq!(ran.stderr.matches("error:").count(), 1, "{video}: {}", ran.stderr);
        assert!(!bench.path("wrong/kitti_output").exists(), "{video}");
        assert_eq!(bench.partial("wrong"), Vec::<PathBuf>::new());
    }
    let mut command = bench.command(&["--video", "black.ogv"]);
    let ran = Ran::of(command.env("PATH", bench.home.path()));
    assert_eq!(ran.code, Some(30), "{}", ran.stderr);
    assert!(ran.stderr.contains("gstreamer1.0-tools"), "{}", ran.stderr);
}

#[test]
fn a_run_that_is_called_off_ends_its_children_and_leaves_nothing() {
    if !is_here("a_run_that_is_called_off_ends_its_children_and_leaves_nothing") {
        return;
    }
    let bench = Bench::new();
    bench.encode("videotestsrc num-buffers=2000 ! video/x-raw,width=64,height=48", "long.ogv");
    let mut command = bench.command(&["--video", "long.ogv", "--out", "out", "--extract", "frames"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while !bench.path("frames/000002.png").exists() {
        assert!(begun.elapsed() < Duration::from_mins(1), "it never began");
        std::thread::sleep(Duration::from_millis(5));
    }
    let children = children_of(child.id());
    assert_eq!(children.len(), 2, "a decoder and an encoder");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(!bench.path("out/kitti_output").exists());
    assert_eq!(bench.partial("out"), Vec::<PathBuf>::new());
    for child in children {
        assert!(!Path::new(&format!("/proc/{child}")).exists(), "{child} still runs");
    }
}

/// The processes that a process started, by Linux's own list.
fn children_of(process: u32) -> Vec<u32> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
        if parent == Some(process) {
            children.push(id);
        }
    }
    children
}

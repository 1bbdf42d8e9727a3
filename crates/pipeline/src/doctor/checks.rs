//! What is looked at, one line of [`CHECKS`] each: pure judgements over facts.

use super::facts::{Facts, H264_DECODERS};
use super::{Finding, Job, State};

/// The driver's CUDA that the wheel of ONNX Runtime for graphics processors is built for.
const CUDA_OF_WHEEL: u32 = 13;
/// Free space under which an import is likely to fail: checkpoint, graphs and reports of a large model.
const ROOM: u64 = 4 << 30;
/// The oldest Python that the exporter's libraries run on.
const OLDEST_PYTHON: (u32, u32) = (3, 10);

/// One thing to look at.
pub(super) struct Check {
    name: &'static str,
    /// The jobs that need it.
    jobs: &'static [Job],
    judge: fn(&Facts) -> Judged,
}

/// All of them, in the order in which they are told.
pub(super) static CHECKS: &[Check] = &[
    Check {
        name: "GPU",
        jobs: &[Job::Build, Job::OnnxruntimeCuda, Job::Deepstream, Job::IsaacRos],
        judge: gpu,
    },
    Check { name: "CUDA", jobs: &[Job::OnnxruntimeCuda], judge: cuda },
    Check { name: "trtexec", jobs: &[Job::Build], judge: trtexec },
    Check { name: "TensorRT", jobs: &[Job::Build, Job::Deepstream], judge: tensorrt },
    Check { name: "tao-converter", jobs: &[], judge: tao_converter },
    Check { name: "DeepStream", jobs: &[Job::Deepstream], judge: deepstream },
    Check { name: "GStreamer", jobs: &[Job::Video, Job::Deepstream], judge: gstreamer },
    Check { name: "video encoder", jobs: &[], judge: encoder },
    Check { name: "ONNX Runtime", jobs: &[Job::Onnxruntime], judge: |facts| backend(facts, "onnxruntime") },
    Check {
        name: "ONNX Runtime, CUDA",
        jobs: &[Job::OnnxruntimeCuda],
        judge: |facts| backend(facts, "onnxruntime-cuda"),
    },
    Check { name: "Triton", jobs: &[Job::Triton], judge: triton },
    Check { name: "ROS 2", jobs: &[Job::IsaacRos], judge: ros },
    Check { name: "Python", jobs: &[Job::PythonExporter], judge: python },
    Check { name: "disk", jobs: &[Job::Import, Job::Build], judge: disk },
    Check { name: "credentials", jobs: &[], judge: credentials },
];

impl Check {
    pub(super) fn finding(&self, facts: &Facts) -> Finding {
        let Judged { state, found, repair } = (self.judge)(facts);
        Finding { name: self.name.to_owned(), state, found, needed_for: self.jobs.to_vec(), repair }
    }
}

struct Judged {
    state: State,
    found: String,
    repair: Option<String>,
}

fn ok(found: impl Into<String>) -> Judged {
    Judged { state: State::Ok, found: found.into(), repair: None }
}

fn missing(found: impl Into<String>, repair: impl Into<String>) -> Judged {
    Judged { state: State::Missing, found: found.into(), repair: Some(repair.into()) }
}

fn wrong(found: impl Into<String>, repair: impl Into<String>) -> Judged {
    Judged { state: State::Wrong, ..missing(found, repair) }
}

fn gpu(facts: &Facts) -> Judged {
    let described = facts.machine.gpus.iter().map(|gpu| {
        let memory = gpu.memory_mib.map(|mib| format!(", {mib} MiB")).unwrap_or_default();
        let capability = gpu.compute_capability.as_ref();
        let capability = capability.map(|value| format!(", compute capability {value}")).unwrap_or_default();
        format!("{}{memory}, driver {}{capability}", gpu.name, gpu.driver)
    });
    let described: Vec<String> = described.collect();
    if let (true, None, Some(reason)) = (described.is_empty(), &facts.jetson, &facts.broken_driver) {
        return wrong(
            reason.clone(),
            "the driver is there and does not answer: restart the machine, or install it again for the running kernel",
        );
    }
    match (&described[..], &facts.jetson) {
        ([], Some(release)) => ok(format!("Jetson: {}", release.trim_start_matches(['#', ' ']))),
        ([], None) => missing(
            "no graphics processor of NVIDIA answers",
            "install its driver (`sudo apt-get install nvidia-driver-580`); start a container with `--gpus all`",
        ),
        (all, _) => ok(all.join("; ")),
    }
}

fn cuda(facts: &Facts) -> Judged {
    let compiler = facts.nvcc.as_ref().map(|version| format!(", compiler {version}")).unwrap_or_default();
    let Some(driver) = &facts.cuda else {
        return match (&facts.jetson, &facts.nvcc) {
            (Some(_), _) => ok(format!("the Jetson's own{compiler}")),
            (None, Some(version)) => {
                wrong(format!("compiler {version}, and no driver that runs it"), "install NVIDIA's driver")
            }
            (None, None) => missing("neither a driver nor a compiler", "install NVIDIA's driver"),
        };
    };
    let major = driver.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major < CUDA_OF_WHEEL) {
        return wrong(
            format!(
                "the driver runs CUDA up to {driver}{compiler}; the installed ONNX Runtime wants {CUDA_OF_WHEEL}"
            ),
            "update the driver to 580 or newer, or name an ONNX Runtime for the older CUDA: `sightline runtime install \
             onnxruntime-gpu --path libonnxruntime.so`",
        );
    }
    ok(format!("the driver runs CUDA up to {driver}{compiler}"))
}

fn trtexec(facts: &Facts) -> Judged {
    match &facts.trtexec {
        Ok((program, version)) => ok(format!("TensorRT {version} ({})", program.display())),
        Err(reason) => missing(
            reason.clone(),
            "install TensorRT with its samples (`sudo apt-get install tensorrt`; on a Jetson `nvidia-jetpack`), or name the \
             program: `sightline build --trtexec PATH`",
        ),
    }
}

/// Engines are read by the version that built them only.
fn tensorrt(facts: &Facts) -> Judged {
    let listed = facts.nvinfer.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match (&facts.trtexec, &facts.nvinfer[..]) {
        (Err(_), []) => missing("no libnvinfer", "sudo apt-get install tensorrt"),
        (Err(_), _) => ok(format!("libnvinfer {listed}")),
        (Ok((_, version)), []) => ok(format!("trtexec brings {version}; the loader knows no other library")),
        (Ok((_, version)), versions) if versions.contains(version) => ok(format!("libnvinfer {listed}")),
        (Ok((program, version)), _) => wrong(
            format!(
                "`{}` builds engines of {version}, programs here load libnvinfer {listed}",
                program.display()
            ),
            format!(
                "build with the `trtexec` of that version (`sightline build --trtexec /usr/src/tensorrt/bin/trtexec`), or \
                 install libnvinfer {version}"
            ),
        ),
    }
}

fn tao_converter(facts: &Facts) -> Judged {
    match &facts.tao_converter {
        Some(program) => ok(program.display().to_string()),
        None => missing(
            "not here: only encrypted `.etlt` models of TAO need it",
            "NVIDIA's NGC catalog has it: resource `nvidia/tao/tao-converter`",
        ),
    }
}

fn deepstream(facts: &Facts) -> Judged {
    let repair = "install DeepStream, or work in its container: `docker run --gpus all -it -v $PWD:/work \
                  nvcr.io/nvidia/deepstream:8.0-triton-multiarch`";
    let majors: Vec<u32> = facts.nvinfer.iter().map(|version| version.major).collect();
    if let Some(wanted) = facts.deepstream_tensorrt.filter(|wanted| !majors.contains(wanted)) {
        let here = match &facts.nvinfer[..] {
            [] => "no libnvinfer is here".to_owned(),
            versions => {
                format!(
                    "libnvinfer {} is",
                    versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                )
            }
        };
        return wrong(
            format!("it was linked with TensorRT {wanted}, and {here}"),
            format!(
                "install TensorRT {wanted} (`sudo apt-get install libnvinfer{wanted}`), or work in its container"
            ),
        );
    }
    if facts.deepstream.is_some() && facts.gstreamer.is_some() && !facts.has("nvinfer") {
        return wrong(
            "GStreamer does not find its element `nvinfer`",
            "forget what GStreamer remembers (`rm -r ~/.cache/gstreamer-1.0`); `gst-inspect-1.0 nvinfer` says what is missing",
        );
    }
    match (&facts.deepstream, &facts.deepstream_app) {
        (Some(version), Some(app)) => ok(format!("{version} ({})", app.display())),
        (Some(version), None) => wrong(format!("{version}, without `deepstream-app`"), repair),
        (None, Some(app)) => ok(format!("`{}`, of unknown version", app.display())),
        (None, None) => missing("not installed", repair),
    }
}

fn gstreamer(facts: &Facts) -> Judged {
    let repair =
        "sudo apt-get install gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good";
    let Some((version, _)) = &facts.gstreamer else {
        return missing("`gst-inspect-1.0` is not on PATH", repair);
    };
    let lacking: Vec<&str> =
        ["decodebin", "videoconvert"].into_iter().filter(|element| !facts.has(element)).collect();
    if !lacking.is_empty() {
        return wrong(format!("{version}, without {}", lacking.join(" and ")), repair);
    }
    match H264_DECODERS.iter().find(|decoder| facts.has(decoder)) {
        Some(decoder) => ok(format!("{version}, H.264 by {decoder}")),
        None => ok(format!(
            "{version}, without a decoder for H.264 that `run local` can use (`gstreamer1.0-libav` has one)"
        )),
    }
}

/// Encoders under other licences are never used.
fn encoder(facts: &Facts) -> Judged {
    let on_gpu = ["nvv4l2h264enc", "nvh264enc"].into_iter().find(|element| facts.has(element));
    if let Some(element) = on_gpu {
        return ok(format!("NVENC ({element})"));
    }
    if facts.has("theoraenc") && facts.has("oggmux") {
        return ok("Theora on the processor; no NVENC here");
    }
    missing(
        "neither NVENC nor Theora: annotated videos are left out",
        "sudo apt-get install gstreamer1.0-plugins-base",
    )
}

fn backend(facts: &Facts, name: &str) -> Judged {
    match facts.backends.iter().find(|(known, _)| *known == name) {
        Some((_, Ok(state))) => ok(state.clone()),
        Some((_, Err((reason, hint)))) => {
            let library = if name == "onnxruntime" { name } else { "onnxruntime-gpu" };
            let install = || format!("sightline runtime install {library}");
            missing(reason.clone(), hint.clone().unwrap_or_else(install))
        }
        None => missing("this program was built without it", "use a release of Sightline"),
    }
}

fn triton(facts: &Facts) -> Judged {
    match (&facts.tritonserver, &facts.docker) {
        (Some(server), _) => ok(server.display().to_string()),
        (None, Some(docker)) if !facts.docker_answers => wrong(
            format!("`{}` is there, and its daemon does not answer", docker.display()),
            "start it (`sudo systemctl start docker`), and be in its group (`sudo usermod -aG docker $USER`)",
        ),
        (None, Some(docker)) => {
            ok(format!("no `tritonserver`, but {} to run `nvcr.io/nvidia/tritonserver` in", docker.display()))
        }
        (None, None) => missing(
            "neither `tritonserver` nor docker",
            "install docker with NVIDIA's container toolkit; the package's README for Triton has the command",
        ),
    }
}

fn ros(facts: &Facts) -> Judged {
    let repair = "source ROS 2 (`source /opt/ros/humble/setup.bash`) or work in Isaac ROS's container";
    match (&facts.ros, &facts.ros2) {
        (Some(release), Some(_)) => ok(format!("ROS 2 {release}")),
        (Some(release), None) => wrong(format!("ROS_DISTRO is {release}, but there is no `ros2`"), repair),
        (None, Some(program)) => {
            wrong(format!("`{}`, but its setup was not sourced", program.display()), repair)
        }
        (None, None) => missing("not installed", repair),
    }
}

fn python(facts: &Facts) -> Judged {
    let (major, minor) = OLDEST_PYTHON;
    let Some(version) = &facts.python else {
        return missing(
            "no `python3`: only `--exporter python` needs it",
            "sudo apt-get install python3 python3-venv",
        );
    };
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < OLDEST_PYTHON {
        return wrong(
            format!("{version}; the exporter's libraries want {major}.{minor}"),
            format!("install Python {major}.{minor} or newer"),
        );
    }
    ok(version.clone())
}

fn disk(facts: &Facts) -> Judged {
    let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
    let described = facts.disks.iter().map(|(what, folder, free)| {
        let free = free.map_or_else(|| "unknown".to_owned(), gigabytes);
        format!("{what} {free} free (`{}`)", folder.display())
    });
    let described = described.collect::<Vec<_>>().join("; ");
    match facts.disks.iter().find(|(_, _, free)| free.is_some_and(|free| free < ROOM)) {
        Some((what, ..)) => wrong(
            described,
            format!(
                "make room for {what}: `sightline clean` forgets finished steps, `--out DIR` writes elsewhere"
            ),
        ),
        None => ok(described),
    }
}

fn credentials(facts: &Facts) -> Judged {
    if facts.credentials.is_empty() {
        return missing(
            "none: only gated models of Hugging Face and NGC's own want one",
            "export HF_TOKEN=…, NGC_API_KEY=…",
        );
    }
    ok(format!("set: {}", facts.credentials.join(", ")))
}

#[cfg(test)]
mod tests {
    use runtime::tools::trtexec::Version;
    use runtime::{Gpu, Machine};

    use super::*;

    /// A machine with nothing.
    fn bare() -> Facts {
        Facts {
            machine: Machine { gpus: Vec::new(), ..Machine::detect() },
            broken_driver: None,
            jetson: None,
            cuda: None,
            nvcc: None,
            trtexec: Err("`trtexec` is not here".into()),
            nvinfer: Vec::new(),
            tao_converter: None,
            deepstream: None,
            deepstream_app: None,
            deepstream_tensorrt: None,
            gstreamer: None,
            backends: vec![("onnxruntime", Err(("not installed".into(), None)))],
            tritonserver: None,
            docker: None,
            docker_answers: false,
            ros: None,
            ros2: None,
            python: None,
            disks: Vec::new(),
            credentials: Vec::new(),
        }
    }

    /// A server with a graphics processor and everything on it.
    fn server() -> Facts {
        let version = Version { major: 10, minor: 3, patch: 0 };
        let gpu = Gpu {
            name: "NVIDIA L4".into(),
            memory_mib: Some(23_034),
            driver: "580.1".into(),
            compute_capability: Some("8.9".into()),
        };
        Facts {
            machine: Machine { gpus: vec![gpu], ..Machine::detect() },
            cuda: Some("13.0".into()),
            trtexec: Ok(("/usr/src/tensorrt/bin/trtexec".into(), version)),
            nvinfer: vec![version],
            deepstream: Some("7.1".into()),
            deepstream_app: Some("/usr/bin/deepstream-app".into()),
            deepstream_tensorrt: Some(10),
            gstreamer: Some((
                "1.20.3".into(),
                ["decodebin", "videoconvert", "nvinfer", "avdec_h264", "nvv4l2h264enc"].into(),
            )),
            backends: vec![
                ("onnxruntime", Ok("1.31.1 on it".into())),
                ("onnxruntime-cuda", Ok("1.31.1 on it".into())),
            ],
            docker: Some("/usr/bin/docker".into()),
            docker_answers: true,
            ros: Some("humble".into()),
            ros2: Some("/opt/ros/humble/bin/ros2".into()),
            python: Some("3.12.3".into()),
            disks: vec![("packages", ".".into(), Some(50_000_000_000))],
            ..bare()
        }
    }

    fn state(facts: &Facts, name: &str) -> (State, String, Option<String>) {
        let finding = CHECKS.iter().find(|check| check.name == name).unwrap().finding(facts);
        (finding.state, finding.found, finding.repair)
    }

    #[test]
    fn a_whole_server_lacks_only_what_nothing_needs() {
        let facts = server();
        for check in CHECKS {
            let finding = check.finding(&facts);
            assert!(finding.state == State::Ok || finding.needed_for.is_empty(), "{finding:?}");
        }
    }

    #[test]
    fn whatever_is_missing_has_a_repair() {
        let facts = bare();
        for check in CHECKS {
            let finding = check.finding(&facts);
            assert!(finding.state == State::Ok || finding.repair.is_some(), "{finding:?}");
        }
        let missing = CHECKS.iter().filter(|check| check.finding(&facts).state == State::Missing).count();
        assert_eq!(missing, CHECKS.len() - 1, "all but the disk");
    }

    #[test]
    fn what_does_not_go_together_is_wrong() {
        let older = Version { major: 8, minor: 6, patch: 1 };
        let failing = Some("nvidia-smi: exit status: 9".to_owned());
        let without = |element: &str| {
            let mut facts = server();
            facts.gstreamer.as_mut().unwrap().1.remove(element);
            facts
        };
        let cases: [(&str, Facts, &str); 11] = [
            ("GPU", Facts { broken_driver: failing, ..bare() }, "exit status: 9"),
            ("TensorRT", Facts { nvinfer: vec![older], ..server() }, "8.6.1"),
            ("CUDA", Facts { cuda: Some("12.4".into()), ..server() }, "12.4"),
            ("DeepStream", Facts { deepstream_app: None, ..server() }, "without `deepstream-app`"),
            (
                "DeepStream",
                Facts { deepstream_tensorrt: Some(8), ..server() },
                "with TensorRT 8, and libnvinfer 10.3.0",
            ),
            ("DeepStream", without("nvinfer"), "`nvinfer`"),
            ("GStreamer", without("videoconvert"), "videoconvert"),
            ("ROS 2", Facts { ros: None, ..server() }, "not sourced"),
            ("Triton", Facts { docker_answers: false, ..server() }, "does not answer"),
            ("Python", Facts { python: Some("3.8.10".into()), ..server() }, "3.10"),
            (
                "disk",
                Facts { disks: vec![("packages", "/small".into(), Some(1_000_000))], ..server() },
                "/small",
            ),
        ];
        for (name, facts, words) in cases {
            let (state, found, repair) = state(&facts, name);
            assert_eq!(state, State::Wrong, "{name}");
            assert!(found.contains(words) && repair.is_some(), "{name}: {found}");
        }
    }

    #[test]
    fn a_jetson_needs_no_driver_of_its_own() {
        let jetson = Facts {
            jetson: Some("# R36 (release), REVISION: 4.3".into()),
            cuda: None,
            machine: Machine { gpus: Vec::new(), ..server().machine },
            ..server()
        };
        assert_eq!(state(&jetson, "GPU"), (State::Ok, "Jetson: R36 (release), REVISION: 4.3".into(), None));
        assert_eq!(state(&jetson, "CUDA").0, State::Ok);
    }

    #[test]
    fn encoders_are_taken_in_the_order_of_their_speed() {
        let with = |elements: &[&'static str]| Facts {
            gstreamer: Some(("1.22.0".into(), elements.iter().copied().collect())),
            ..bare()
        };
        assert!(state(&with(&["theoraenc", "oggmux", "nvh264enc"]), "video encoder").1.starts_with("NVENC"));
        assert!(state(&with(&["theoraenc", "oggmux"]), "video encoder").1.starts_with("Theora"));
        assert_eq!(state(&with(&["theoraenc"]), "video encoder").0, State::Missing);
    }

    #[test]
    fn who_decodes_the_usual_videos_is_said() {
        let mut facts = server();
        assert!(state(&facts, "GStreamer").1.contains("H.264 by avdec_h264"));
        facts.gstreamer.as_mut().unwrap().1.remove("avdec_h264");
        let (state, found, _) = state(&facts, "GStreamer");
        assert!(state == State::Ok && found.contains("gstreamer1.0-libav"), "{found}");
    }
}

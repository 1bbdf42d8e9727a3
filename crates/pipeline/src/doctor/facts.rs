//! What there is on this machine, without a judgement.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use runtime::Machine;
use runtime::tools::gst_inspect::GstInspect;
use runtime::tools::trtexec::{Trtexec, Version};
use runtime::tools::{jetson, nvidia_smi, nvinfer, programs, tao_converter};

/// Elements of `GStreamer` that a step may use.
const ELEMENTS: &[&str] =
    &["decodebin", "videoconvert", "nvinfer", "nvv4l2h264enc", "nvh264enc", "theoraenc", "oggmux"];
/// Those that decode H.264, the usual form of videos; the GPU's first.
pub(super) const H264_DECODERS: &[&str] =
    &["nvv4l2decoder", "nvh264dec", "avdec_h264", "openh264dec", "vah264dec"];
/// Where `DeepStream` is installed.
const DEEPSTREAM: &str = "/opt/nvidia/deepstream/deepstream";

/// Where to look: what only the caller may read.
#[derive(Debug, Clone, Default)]
pub struct Looking {
    /// The value of `PATH`.
    pub path: Option<OsString>,
    /// A `trtexec` that was named.
    pub trtexec: Option<PathBuf>,
    /// Folders that are written to, and what goes there.
    pub folders: Vec<(&'static str, PathBuf)>,
    /// The release of ROS whose setup was sourced.
    pub ros: Option<String>,
    /// Credentials that are set, by the name of their variable; their values are nobody's business.
    pub credentials: Vec<&'static str>,
}

/// What a backend says of itself, or why it cannot be used and the way out.
type BackendState = Result<String, (String, Option<String>)>;

/// What there is.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) machine: Machine,
    /// Why the driver gives no answer, though its program is there.
    pub(super) broken_driver: Option<String>,
    /// The first line of a Jetson's release.
    pub(super) jetson: Option<String>,
    /// The newest CUDA that the driver runs.
    pub(super) cuda: Option<String>,
    /// CUDA's compiler.
    pub(super) nvcc: Option<String>,
    /// The version of `trtexec`, or why there is none.
    pub(super) trtexec: Result<(PathBuf, Version), String>,
    /// TensorRT's libraries.
    pub(super) nvinfer: Vec<Version>,
    pub(super) tao_converter: Option<PathBuf>,
    /// `DeepStream`'s version, where it is installed.
    pub(super) deepstream: Option<String>,
    pub(super) deepstream_app: Option<PathBuf>,
    /// The major version of TensorRT that `DeepStream` was linked with.
    pub(super) deepstream_tensorrt: Option<u32>,
    /// `GStreamer`'s version and the elements of [`ELEMENTS`] and [`H264_DECODERS`] that it has.
    pub(super) gstreamer: Option<(String, BTreeSet<&'static str>)>,
    /// Each backend with its state, or the reason and the way out.
    pub(super) backends: Vec<(&'static str, BackendState)>,
    pub(super) tritonserver: Option<PathBuf>,
    pub(super) docker: Option<PathBuf>,
    /// Whether docker's daemon answers this user.
    pub(super) docker_answers: bool,
    pub(super) ros: Option<String>,
    pub(super) ros2: Option<PathBuf>,
    /// Python's version.
    pub(super) python: Option<String>,
    /// What goes there, the folder, and the bytes that are free.
    pub(super) disks: Vec<(&'static str, PathBuf, Option<u64>)>,
    pub(super) credentials: Vec<&'static str>,
}

impl Facts {
    /// Looks. Programs are given a few seconds each.
    pub(super) fn gather(looking: &Looking) -> Self {
        let path = looking.path.as_deref();
        let find = |name: &str, places: &[&str]| {
            let places: Vec<&Path> = places.iter().map(Path::new).collect();
            programs::find(name, path, &places)
        };
        let said = |program: Option<PathBuf>, arguments: &[&str]| programs::lines(&program?, arguments);
        let trtexec = Trtexec::find(looking.trtexec.as_deref(), path);
        let gstreamer = GstInspect::find(path).map(|inspect| {
            let elements = ELEMENTS
                .iter()
                .chain(H264_DECODERS)
                .copied()
                .filter(|element| inspect.has(element))
                .collect();
            (inspect.version.unwrap_or_default(), elements)
        });
        let backends = runtime::BACKENDS.iter().map(|backend| {
            let state = backend.probe().map(|probe| format!("{} on {}", probe.version, probe.device));
            (backend.name(), state.map_err(|error| (error.to_string(), error.hint())))
        });
        let nvcc = said(find("nvcc", &["/usr/local/cuda/bin"]), &["--version"]);
        let docker = find("docker", &[]);
        let python = said(find("python3", &[]), &["--version"]);
        Self {
            machine: Machine::detect(),
            broken_driver: nvidia_smi::gpus().err().map(|error| error.to_string()),
            jetson: jetson::release(),
            cuda: nvidia_smi::cuda(path),
            nvcc: nvcc.and_then(|lines| release(&lines)),
            trtexec: trtexec.map(|found| (found.program, found.version)).map_err(|error| error.to_string()),
            nvinfer: nvinfer::versions(),
            tao_converter: tao_converter::find(path),
            deepstream: first_line(&format!("{DEEPSTREAM}/version"))
                .map(|line| line.trim_start_matches("Version:").trim().to_owned()),
            deepstream_app: find("deepstream-app", &[&format!("{DEEPSTREAM}/bin")]),
            deepstream_tensorrt: nvinfer::wanted_by(&Path::new(DEEPSTREAM).join("lib/libnvds_infer.so")),
            gstreamer,
            backends: backends.collect(),
            tritonserver: find("tritonserver", &["/opt/tritonserver/bin"]),
            // Its client says its version only where a daemon answers.
            docker_answers: docker.as_ref().is_some_and(|docker| programs::answers(docker, &["version"])),
            docker,
            ros: looking.ros.clone(),
            ros2: find("ros2", &[]),
            python: python.and_then(|lines| lines.first()?.strip_prefix("Python ").map(str::to_owned)),
            disks: looking
                .folders
                .iter()
                .map(|(what, folder)| (*what, folder.clone(), free(folder)))
                .collect(),
            credentials: looking.credentials.clone(),
        }
    }

    /// Whether an element of `GStreamer` is there.
    pub(super) fn has(&self, element: &str) -> bool {
        self.gstreamer.as_ref().is_some_and(|(_, elements)| elements.contains(element))
    }

    /// Whether there is a graphics processor of NVIDIA.
    pub(super) fn has_gpu(&self) -> bool {
        !self.machine.gpus.is_empty() || self.jetson.is_some()
    }
}

fn first_line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.lines().next()?.trim().to_owned()).filter(|line| !line.is_empty())
}

/// `13.0` of `Cuda compilation tools, release 13.0, V13.0.88`.
fn release(lines: &[String]) -> Option<String> {
    let rest = lines.iter().find_map(|line| line.split_once("release "))?.1;
    rest.split(',').next().map(str::to_owned)
}

/// The bytes that are free where a folder is, or will be made.
fn free(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|folder| folder.exists() && !folder.as_os_str().is_empty());
    let found = rustix::fs::statvfs(there.unwrap_or(Path::new("."))).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

//! `deepstream_app_<name>_<run>.txt`: three runs of deepstream-app. Paths are relative to the file, that is to `config/`.

use std::fmt::Write;

use super::{Deployment, infer};
use crate::PackageName;

/// The video that every installation of `DeepStream` has.
const SAMPLE: &str = "file:///opt/nvidia/deepstream/deepstream/samples/streams/sample_720p.mp4";

/// A run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Run {
    /// One stream, drawn into a video.
    Single,
    /// One stream, detections as files.
    Kitti,
    /// As many streams as the engine takes, timed.
    Perf,
}

type Group = (&'static str, Vec<(&'static str, String)>);

impl Run {
    pub(super) const ALL: [Self; 3] = [Self::Single, Self::Kitti, Self::Perf];

    /// Its path in the package.
    pub(super) fn path(self, name: &PackageName) -> String {
        let run = match self {
            Self::Single => "single",
            Self::Kitti => "kitti",
            Self::Perf => "perf",
        };
        format!("config/deepstream_app_{name}_{run}.txt")
    }

    /// The text of the file; `most` frames are detected in at once.
    pub(super) fn text(self, deployment: &Deployment<'_>, most: u32) -> String {
        let what = match self {
            Self::Single => {
                "one stream, boxes drawn into a video by the hardware encoder; start it from the package's root"
            }
            Self::Kitti => "one stream, detections as KITTI files: the folder has to exist",
            Self::Perf => "all streams that the engine takes, as fast as they go",
        };
        let mut text = format!("# deepstream-app: {what}. Paths are relative to this file.\n");
        for (group, keys) in self.groups(deployment, most) {
            let _ = writeln!(text, "\n[{group}]");
            for (key, value) in keys {
                let _ = writeln!(text, "{key}={value}");
            }
        }
        text
    }

    fn streams(self, most: u32) -> u32 {
        if self == Self::Perf { most } else { 1 }
    }

    fn groups(self, deployment: &Deployment<'_>, most: u32) -> Vec<Group> {
        let own = |text: &str| text.to_owned();
        let streams = self.streams(most);
        let mut application =
            vec![("enable-perf-measurement", own("1")), ("perf-measurement-interval-sec", own("2"))];
        if self == Self::Kitti {
            application = vec![
                ("enable-perf-measurement", own("0")),
                ("gie-kitti-output-dir", own("../samples/kitti_output")),
            ];
        }
        // Type 3 plays one file as many streams.
        let source = vec![
            ("enable", own("1")),
            ("type", own("3")),
            ("uri", own(SAMPLE)),
            ("num-sources", streams.to_string()),
            ("gpu-id", own("0")),
        ];
        let (width, height) = deployment.frame;
        let mux = vec![
            ("gpu-id", own("0")),
            ("live-source", own("0")),
            ("batch-size", streams.to_string()),
            ("batched-push-timeout", own(if self == Self::Perf { "-1" } else { "40000" })),
            ("width", width.to_string()),
            ("height", height.to_string()),
            ("enable-padding", own("0")),
        ];
        let gie = vec![
            ("enable", own("1")),
            ("gpu-id", own("0")),
            ("gie-unique-id", own("1")),
            ("batch-size", streams.to_string()),
            ("config-file", infer::from_config(&infer::path_of(deployment.name))),
        ];
        let file_loop = u8::from(self == Self::Perf).to_string();
        vec![
            ("application", application),
            ("tests", vec![("file-loop", file_loop)]),
            ("source0", source),
            ("streammux", mux),
            ("primary-gie", gie),
            ("tiled-display", vec![("enable", own("0"))]),
            ("osd", self.drawing()),
            ("sink0", self.sink(deployment.name)),
        ]
    }

    fn drawing(self) -> Vec<(&'static str, String)> {
        if self != Self::Single {
            return vec![("enable", "0".to_owned())];
        }
        [("enable", "1"), ("gpu-id", "0"), ("process-mode", "1"), ("border-width", "2"), ("text-size", "14")]
            .map(|(key, value)| (key, value.to_owned()))
            .to_vec()
    }

    fn sink(self, name: &PackageName) -> Vec<(&'static str, String)> {
        if self != Self::Single {
            // Type 1 throws frames away.
            return [("enable", "1"), ("type", "1"), ("sync", "0")]
                .map(|(key, value)| (key, value.to_owned()))
                .to_vec();
        }
        // A file by the hardware encoder.
        let mut keys: Vec<(&'static str, String)> = [
            ("enable", "1"),
            ("type", "3"),
            ("container", "1"),
            ("codec", "1"),
            ("enc-type", "0"),
            ("sync", "0"),
            ("bitrate", "8000000"),
        ]
        .map(|(key, value)| (key, value.to_owned()))
        .to_vec();
        // This one path deepstream-app takes from where it is started.
        keys.push(("output-file", format!("samples/{name}_output.mp4")));
        keys
    }
}

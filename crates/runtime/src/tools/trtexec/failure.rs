//! Failures that are known: what TensorRT prints, what it means, what helps.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::log::{Log, parts};

/// Why TensorRT failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The workspace limit was understood as next to nothing.
    TinyWorkspace,
    /// There is no GPU for it, or its driver is too old.
    NoGpu,
    /// One of its libraries is not there.
    LibraryMissing,
    /// An option that this version does not have.
    UnknownOption,
    /// The engine belongs to another TensorRT or another GPU.
    VersionMismatch,
    /// The timing cache is of another TensorRT or another GPU, or damaged.
    TimingCache,
    /// The graph needs a plug-in or an operator that this TensorRT does not have.
    PluginMissing,
    /// The calibration cache was not taken.
    Calibration,
    /// The memory of the GPU is not enough.
    OutOfMemory,
    /// No kernel for a node, mostly for a part of the graph that its compiler fused (`ForeignNode`).
    NoImplementation,
    /// Someone else ended it: mostly the system, for want of main memory.
    Killed,
    /// It took longer than it may.
    TimedOut,
    /// Anything else.
    Unknown,
}

/// What is printed for a cause, and what helps against it.
struct Known {
    cause: Cause,
    /// Any of these in a line of an error. Where a name follows the mark, it is the subject.
    marks: &'static [&'static str],
    /// In words, before the subject.
    fact: &'static str,
    /// The way out.
    hint: &'static str,
}

/// In the order in which they are looked for: a cause before what follows from it.
static KNOWN: &[Known] = &[
    Known {
        cause: Cause::TinyWorkspace,
        marks: &[],
        fact: "the workspace limit was understood as next to nothing",
        hint: "write the limit as `workspace:4096M` or as a plain number of MiB: an ending such as `MiB` counts bytes",
    },
    Known {
        cause: Cause::NoGpu,
        marks: &[
            "Cannot find any available devices",
            "Cannot find device ID ",
            "CUDA initialization failure",
            "no CUDA-capable device",
            "driver version is insufficient",
        ],
        fact: "it has no GPU that it can use",
        hint: "run `nvidia-smi`: TensorRT needs a GPU of NVIDIA, and a driver that is new enough for its CUDA",
    },
    Known {
        cause: Cause::LibraryMissing,
        marks: &[
            "error while loading shared libraries: ",
            "Could not load library ",
            "Unable to open library: ",
        ],
        fact: "a library is missing",
        hint: "put the folder of TensorRT's libraries where the system finds them (`LD_LIBRARY_PATH`)",
    },
    Known {
        cause: Cause::UnknownOption,
        marks: &["Unknown option: "],
        fact: "this version does not know the option",
        hint: "name another `trtexec` with `--trtexec PATH`: this one is of another version than it says",
    },
    Known {
        cause: Cause::VersionMismatch,
        marks: &[
            "Version tag does not match",
            "Serialized Engine Version",
            "kPLAN_MAGIC_TAG",
            "kMAGIC_TAG",
            "engine plan file is not compatible",
            "engine plan file is generated on an incompatible device",
        ],
        fact: "the engine was built by another TensorRT or for another GPU",
        hint: "build it again on this machine: an engine runs with the TensorRT and on the kind of GPU that it was built with",
    },
    Known {
        cause: Cause::PluginMissing,
        marks: &[
            "could not find plugin: ",
            "Cannot find plugin: ",
            "Unable to find plugin: ",
            "No importer registered for op: ",
            "Plugin not found",
        ],
        fact: "it has no plug-in or operator",
        hint: "name the plug-in's library with `--plugin FILE`, or export the graph without it; \
               `sightline inspect MODEL` lists the operators that TensorRT does not have",
    },
    Known {
        cause: Cause::Calibration,
        marks: &[
            "Calibration failure occurred",
            "is bound to nullptr",
            "Can not open provided calibration cache",
        ],
        fact: "the calibration cache was not taken",
        hint: "calibrate again: `sightline quantize MODEL --calibrate DIR`",
    },
    Known {
        cause: Cause::OutOfMemory,
        marks: &["out of memory", "OutOfMemory", "Requested amount of GPU memory"],
        fact: "the memory of the GPU is not enough",
        hint: "build for a smaller `--batch`, end what else uses the GPU, or give less `--workspace`",
    },
    Known {
        cause: Cause::NoImplementation,
        marks: &["Could not find any implementation for node "],
        fact: "it has no kernel for",
        hint: "build for one fixed batch (`--static-batch N`), with a smaller batch or more `--workspace`, or with another \
               version of TensorRT",
    },
    // It goes on without, so that this is the cause only where nothing else is.
    Known {
        cause: Cause::TimingCache,
        marks: &["TimingCache creation failed", "iming cache"],
        fact: "the timing cache cannot be used",
        hint: "remove the timing cache: it is only kept to build faster",
    },
    Known {
        cause: Cause::Killed,
        marks: &[],
        fact: "it was ended by the system",
        hint: "building takes a few times the model's size in main memory: make room, then run the same command again",
    },
    Known {
        cause: Cause::TimedOut,
        marks: &[],
        fact: "it took longer than it may",
        hint: "look whether the GPU is busy with something else (`nvidia-smi`)",
    },
    Known {
        cause: Cause::Unknown,
        marks: &[],
        fact: "it failed",
        hint: "the log has all that TensorRT said",
    },
];

/// A workspace below this is a slip of the pen: no kernel needs so little.
const SMALLEST_WORKSPACE_MIB: f64 = 1.0;

impl Cause {
    /// The cause that a log names, and of what.
    pub(super) fn of(log: &Log, last_lines: &[String]) -> (Self, Option<String>) {
        if log.workspace_mib.is_some_and(|mib| mib < SMALLEST_WORKSPACE_MIB) {
            return (Self::TinyWorkspace, None);
        }
        // What the system or a library says stands between the log's own lines.
        let lines = || log.errors.iter().chain(last_lines.iter().filter(|line| may_complain(line)));
        let found = KNOWN.iter().find_map(|known| {
            let line = |mark: &&str| lines().find_map(|line| line.split_once(mark));
            let (_, rest) = known.marks.iter().find_map(line)?;
            Some((known.cause, subject(known.cause, rest)))
        });
        match found {
            // What it then cannot find is a kernel that fits into the memory.
            Some((Self::NoImplementation, subject)) if log.starved => (Self::OutOfMemory, subject),
            Some(found) => found,
            None => (Self::Unknown, None),
        }
    }

    fn known(self) -> &'static Known {
        KNOWN.iter().find(|known| known.cause == self).unwrap_or(&KNOWN[KNOWN.len() - 1])
    }

    /// The way out.
    pub fn hint(self) -> &'static str {
        self.known().hint
    }

    /// Whether this machine lacks something, whatever the graph.
    pub fn is_of_machine(self) -> bool {
        matches!(self, Self::NoGpu | Self::LibraryMissing | Self::UnknownOption | Self::VersionMismatch)
    }
}

/// Whether a line can be a complaint: information and warnings name the same things, and the last line repeats the command.
fn may_complain(line: &str) -> bool {
    !line.starts_with("&&&& ") && !matches!(parts(line).0, Some('I' | 'V' | 'W'))
}

/// The name that follows a mark.
fn subject(cause: Cause, rest: &str) -> Option<String> {
    let name = match cause {
        Cause::NoImplementation => rest.split(".)").next().unwrap_or(rest).trim_end_matches('.'),
        Cause::PluginMissing | Cause::UnknownOption => {
            let end = rest.find([',', ' ', ')', '"', '?']).unwrap_or(rest.len());
            &rest[..end]
        }
        Cause::LibraryMissing => rest.split(": ").next().unwrap_or(rest),
        _ => "",
    };
    let name = name.trim().trim_matches(['{', '}']);
    (!name.is_empty()).then(|| name.to_owned())
}

/// A run of `trtexec` that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub cause: Cause,
    /// The node, plug-in, option or library that it is about.
    pub subject: Option<String>,
    /// Its own words: the first error, else its last line.
    pub words: String,
    /// Where everything that it said is kept.
    pub log: Option<PathBuf>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.cause.known().fact)?;
        if let Some(subject) = &self.subject {
            write!(f, " `{subject}`")?;
        }
        if self.cause == Cause::Unknown || self.cause == Cause::Calibration {
            write!(f, ": {}", self.words)?;
        }
        match &self.log {
            Some(log) => write!(f, " (log: `{}`)", log.display()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(lines: &str) -> (Cause, Option<String>) {
        Cause::of(&Log::read(lines), &[])
    }

    #[test]
    fn real_words_are_recognised() {
        // As printed by 8.2 to 10.16, from reports of users.
        let cases = [
            (
                "[04/28/2023-14:06:47] [E] Error[10]: [optimizer.cpp::computeCosts::3728] Error Code 10: Internal Error (Could not find any implementation for node {ForeignNode[177...Reshape_81 + (Unnamed Layer* 146) [Shuffle]]}.)",
                Cause::NoImplementation,
                Some("ForeignNode[177...Reshape_81 + (Unnamed Layer* 146) [Shuffle]]"),
            ),
            (
                "[06/07/2022-19:05:53] [W] [TRT] Skipping tactic 0 due to insuficient memory on requested size of 29147520 detected for tactic 0.\n\
                 [06/07/2022-19:05:53] [E] Error[10]: Error Code 10: Internal Error (Could not find any implementation for node {ForeignNode[a...b]}.)",
                Cause::OutOfMemory,
                Some("ForeignNode[a...b]"),
            ),
            (
                "[t] [E] Error[2]: [virtualMemoryBuffer.cpp::resizePhysical::140] Error Code 2: OutOfMemory (no further information)",
                Cause::OutOfMemory,
                None,
            ),
            (
                "[t] [E] [TRT] ModelImporter.cpp:771: IPluginRegistry::getCreator: Error Code 4: API Usage Error (Cannot find plugin: EfficientNMS_ONNX_TRT, version: 1, namespace:.)",
                Cause::PluginMissing,
                Some("EfficientNMS_ONNX_TRT"),
            ),
            (
                "[t] [I] [TRT] No importer registered for op: DynamicQuantizeLinear. Attempting to import as plugin.\n\
                 [t] [E] 3: getPluginCreator could not find plugin: DynamicQuantizeLinear version: 1",
                Cause::PluginMissing,
                Some("DynamicQuantizeLinear"),
            ),
            ("[t] [E] Unknown option: --fp16 ", Cause::UnknownOption, Some("--fp16")),
            (
                "[t] [E] Error[1]: [stdArchiveReader.cpp::StdArchiveReader::32] Error Code 1: Serialization (Serialization assertion stdVersionRead == serializationVersion failed.Version tag does not match. Note: Current Version: 236, Serialized Engine Version: 239)",
                Cause::VersionMismatch,
                None,
            ),
            (
                "[t] [E] Error[1]: IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion plan->header.magicTag == rt::kPLAN_MAGIC_TAG failed.)",
                Cause::VersionMismatch,
                None,
            ),
            (
                "[t] [I] Memory Pools: workspace: 0.03125 MiB, dlaSRAM: default\n[t] [E] Error[10]: Could not find any implementation for node Conv_0.",
                Cause::TinyWorkspace,
                None,
            ),
            ("[t] [E] TimingCache creation failed", Cause::TimingCache, None),
            // 8.6 complains of the cache and goes on without it; what ends the build comes after.
            (
                "[t] [E] Error[1]: [myelinCache.h::deserializeFromBuffer::52] Error Code 1: Myelin (Myelin error from unknown graph)\n\
                 [t] [E] Error[4]: The timing cache will not be used!\n\
                 [t] [E] Error[10]: Could not find any implementation for node /stem/Conv + PWN(PWN(/stem/Sigmoid), /stem/Mul).",
                Cause::NoImplementation,
                Some("/stem/Conv + PWN(PWN(/stem/Sigmoid), /stem/Mul)"),
            ),
            (
                "[t] [E] Error[1]: Calibration failure occurred with no scaling factors detected.",
                Cause::Calibration,
                None,
            ),
            ("[t] [E] Engine set up failed", Cause::Unknown, None),
            ("", Cause::Unknown, None),
        ];
        for (lines, expected, subject) in cases {
            assert_eq!(cause(lines), (expected, subject.map(str::to_owned)), "{lines}");
        }
    }

    #[test]
    fn what_stands_outside_of_the_log_is_seen_too() {
        let lines = [
            "trtexec: error while loading shared libraries: libnvinfer.so.8: cannot open shared object file"
                .to_owned(),
        ];
        let found = Cause::of(&Log::default(), &lines);
        assert_eq!(found, (Cause::LibraryMissing, Some("libnvinfer.so.8".into())));
        let lines = ["Cannot find any available devices (GPUs)!".to_owned()];
        assert_eq!(Cause::of(&Log::default(), &lines).0, Cause::NoGpu);
        let lines = [
            "[t] [I] [TRT] Global timing cache in use.",
            "&&&& FAILED TensorRT.trtexec # --onnx=out of memory.onnx",
        ];
        assert_eq!(Cause::of(&Log::default(), &lines.map(str::to_owned)).0, Cause::Unknown);
    }

    #[test]
    fn every_cause_is_in_the_table_once() {
        for (at, known) in KNOWN.iter().enumerate() {
            assert!(std::ptr::eq(known.cause.known(), known), "row {at}");
            assert!(!known.hint.is_empty() && !known.fact.is_empty());
        }
    }
}

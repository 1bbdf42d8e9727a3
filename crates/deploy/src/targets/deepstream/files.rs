//! Where a package's files for `DeepStream` lie, and how the configurations of a run are made of them.

use std::fmt::Write as _;

use detect::Head;

use super::app::Run;
use super::infer::{self, Cluster};
use super::names::Names;
use crate::{PackageName, Precision};

/// Paths from the package's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeepStreamFiles {
    /// deepstream-app: one stream, drawn.
    pub single: String,
    /// deepstream-app: one stream, KITTI files.
    pub kitti: String,
    /// deepstream-app: many streams, timed.
    pub perf: String,
    /// Source of the bounding-box parser.
    pub source: String,
    /// The library that `make` builds of it.
    pub library: String,
    /// nvinfer's `cluster-mode`.
    pub cluster_mode: u32,
    name: PackageName,
}

impl DeepStreamFiles {
    /// Those of a package of this name, for a detector with this head.
    pub fn of(name: &PackageName, head: &Head) -> Self {
        let names = Names::of(name);
        Self {
            single: Run::Single.path(name),
            kitti: Run::Kitti.path(name),
            perf: Run::Perf.path(name),
            source: names.source(),
            library: names.library(),
            cluster_mode: mode(head),
            name: name.clone(),
        }
    }

    /// nvinfer's configuration for a precision.
    pub fn infer(&self, precision: Precision) -> String {
        match precision {
            Precision::Fp32 => infer::path_of(&self.name),
            other => format!("config/config_infer_primary_{}_{other}.txt", self.name),
        }
    }
}

/// nvinfer's number for how it suppresses.
pub(super) fn mode(head: &Head) -> u32 {
    match super::cluster(head) {
        Cluster::Nms(_) => 2,
        Cluster::None => 4,
    }
}

/// The value of a key in a configuration.
pub fn key<'t>(text: &'t str, group: &str, name: &str) -> Option<&'t str> {
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == format!("[{group}]");
        } else if let Some((found, value)) = line.split_once('=')
            && inside
            && found.trim() == name
        {
            return Some(value.trim());
        }
    }
    None
}

/// A configuration with other values; a key that is not there is added at the start of its group. Groups that are not
/// there stay away.
pub fn with_keys(text: &str, changes: &[(&str, &str, &str)]) -> String {
    let mut result = String::new();
    let mut group = "";
    for line in text.lines() {
        if let Some(name) = line.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            group = name;
            result.push_str(line);
            result.push('\n');
            for (_, key, value) in changes.iter().filter(|(of, ..)| *of == group) {
                let _ = writeln!(result, "{key}={value}");
            }
            continue;
        }
        let name = line.split_once('=').map(|(name, _)| name.trim());
        let is_changed = changes.iter().any(|(of, key, _)| *of == group && Some(*key) == name);
        if !is_changed {
            result.push_str(line);
            result.push('\n');
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_changed_in_their_group_only() {
        let text = "# a comment\n\n[source0]\nenable=1\nuri=file:///a.mp4\n\n[sink0]\nenable=1\n";
        assert_eq!(key(text, "source0", "uri"), Some("file:///a.mp4"));
        assert_eq!((key(text, "sink0", "uri"), key(text, "tests", "enable")), (None, None));
        let changed = with_keys(
            text,
            &[("source0", "uri", "file:///b.mp4"), ("sink0", "sync", "0"), ("tests", "x", "1")],
        );
        assert_eq!(
            changed,
            "# a comment\n\n[source0]\nuri=file:///b.mp4\nenable=1\n\n[sink0]\nsync=0\nenable=1\n"
        );
    }
}

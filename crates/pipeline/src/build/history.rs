//! How long earlier builds took: only to say how long the next one may take.

use serde::{Deserialize, Serialize};

use crate::Store;

/// The file of the store.
const FILE: &str = "builds.json";
/// Builds that are remembered.
const KEPT: usize = 200;
/// A model whose file is this many times as large or as small says nothing.
const COMPARABLE: f64 = 4.0;

/// One build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Past {
    pub(super) gpu: String,
    pub(super) tensorrt: String,
    pub(super) precision: deploy::Precision,
    /// Bytes of the ONNX file.
    pub(super) bytes: u64,
    pub(super) max_batch: u32,
    pub(super) seconds: f64,
}

/// Everything that is remembered; nothing when it cannot be read.
fn remembered(store: &Store) -> Vec<Past> {
    let text = std::fs::read(store.side_file(FILE)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// How long the most similar build took.
pub(super) fn expected(store: &Store, next: &Past) -> Option<f64> {
    similar(&remembered(store), next).map(|past| past.seconds)
}

/// Remembers a build. That it cannot is no reason to fail.
pub(super) fn remember(store: &Store, done: Past) {
    let mut all = remembered(store);
    all.push(done);
    let all = &all[all.len().saturating_sub(KEPT)..];
    if let Ok(json) = serde_json::to_vec_pretty(all) {
        let _ = store.write_whole(&store.side_file(FILE), &json);
    }
}

fn similar<'a>(all: &'a [Past], next: &Past) -> Option<&'a Past> {
    let ratio = |a: f64, b: f64| (a.max(1.0) / b.max(1.0)).ln().abs();
    let far = |past: &Past| {
        ratio(past.bytes as f64, next.bytes as f64)
            + ratio(f64::from(past.max_batch), f64::from(next.max_batch))
    };
    let comparable = all.iter().filter(|past| {
        past.gpu == next.gpu
            && past.tensorrt == next.tensorrt
            && past.precision == next.precision
            && ratio(past.bytes as f64, next.bytes as f64) <= COMPARABLE.ln()
    });
    // Of equally similar ones the latest.
    comparable.min_by(|a, b| far(a).total_cmp(&far(b)).then(std::cmp::Ordering::Greater))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_similar_build_is_the_guess() {
        let past = |bytes, max_batch, seconds| Past {
            gpu: "g".into(),
            tensorrt: "10.3.0".into(),
            precision: deploy::Precision::Fp16,
            bytes,
            max_batch,
            seconds,
        };
        let all = [past(100, 64, 60.0), past(100, 1, 20.0), past(110, 64, 70.0), past(100_000, 64, 900.0)];
        let cases = [
            (past(100, 64, 0.0), Some(60.0)),
            (past(105, 2, 0.0), Some(20.0)),
            (past(200_000, 64, 0.0), Some(900.0)),
            (past(5000, 64, 0.0), None),
            (Past { gpu: "h".into(), ..past(100, 64, 0.0) }, None),
        ];
        for (next, expected) in cases {
            assert_eq!(similar(&all, &next).map(|past| past.seconds), expected, "{next:?}");
        }
        let out = tempfile::tempdir().unwrap();
        let store = Store::open(out.path(), &|| {}).unwrap();
        assert_eq!(expected(&store, &all[0]), None);
        remember(&store, all[0].clone());
        assert_eq!(expected(&store, &all[1]), Some(60.0));
    }
}

//! Category A: graphs at the root or in `onnx/`, in order of preference.

use super::variant::{Variant, VariantPreference};
use super::{Candidate, Entry, Kind, below};

/// The graphs below `root`, best first; those that the preference forbids come last.
pub(super) fn candidates(entries: &[Entry], root: &str, preference: &VariantPreference) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = entries
        .iter()
        .filter_map(|entry| {
            let path = below(&entry.path, root)?;
            let name = path.strip_prefix("onnx/").unwrap_or(path);
            let is_graph = !name.contains('/') && entry.path.extension() == "onnx";
            is_graph.then(|| {
                let variant = Variant::of(&entry.path);
                Candidate {
                    path: entry.path.clone(),
                    size: entry.size,
                    kind: Kind::Onnx(variant),
                    chosen: false,
                    reason: variant.remark().to_owned(),
                }
            })
        })
        .collect();
    found.sort_by_cached_key(|candidate| {
        let variant = variant_of(candidate);
        let stem = candidate.path.file_name().split(['.', '_', '-']).next().unwrap_or_default();
        // `model…` is the whole network; `encoder…` and the like are pieces of one.
        let is_piece = stem != "model" && is_piece(candidate.path.file_name());
        let depth = candidate.path.as_str().matches('/').count();
        (
            preference.rank(variant).unwrap_or(usize::MAX),
            is_piece,
            stem != "model",
            depth,
            candidate.path.clone(),
        )
    });
    found
}

/// Whether the preference lets this graph be taken.
pub(super) fn is_allowed(candidate: &Candidate, preference: &VariantPreference) -> bool {
    preference.rank(variant_of(candidate)).is_some()
}

/// Why this variant and not another, in words.
pub(super) fn explanation(
    chosen: Variant,
    preference: &VariantPreference,
    candidates: &[Candidate],
) -> Vec<String> {
    let others = || candidates.iter().filter(|c| !c.chosen && matches!(c.kind, Kind::Onnx(_)));
    let unusable = others().filter(|c| !matches!(variant_of(c), Variant::Fp32 | Variant::Fp16)).count();
    let mut lines = Vec::new();
    if *preference == VariantPreference::Fp32First {
        if chosen == Variant::Fp32 && others().next().is_some() {
            lines.push(
                "fp32 is preferred: other precisions are made from it and checked against it".to_owned(),
            );
        }
        if unusable > 0 {
            lines.push(format!(
                "{unusable} quantized file(s) left aside: community int8 and quantized files are dynamic quantization \
                 (ConvInteger, MatMulInteger), which TensorRT cannot run"
            ));
        }
    }
    if *preference == VariantPreference::Seeds && chosen != Variant::Fp16 {
        lines.push(format!("{chosen} was taken because there is no fp16"));
    }
    if !matches!(chosen, Variant::Fp32 | Variant::Fp16) {
        lines.push(format!("warning: {chosen} is {}", chosen.remark()));
    }
    lines
}

/// Names of graphs that are only a part of a network.
fn is_piece(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["encoder", "decoder", "embed", "tokenizer", "text_model", "vision_model", "postprocess", "preprocess"]
        .iter()
        .any(|piece| name.contains(piece))
}

fn variant_of(candidate: &Candidate) -> Variant {
    match candidate.kind {
        Kind::Onnx(variant) => variant,
        Kind::Weights(_) => Variant::Fp32,
    }
}

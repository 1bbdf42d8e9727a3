//! D-FINE, `DEIMv2` and Deformable DETR: what their configurations may say, and what is left out of the graph.

use models::{DeformableForm, ErrorKind, ExportOptions, Files, MemoryFiles, export};
use serde_json::{Value, json};

use crate::sources::{fixture, in_memory, options};

fn config(files: &MemoryFiles) -> Value {
    serde_json::from_slice(&files.read("config.json").unwrap()).unwrap()
}

fn with_config(files: &MemoryFiles, config: &Value) -> MemoryFiles {
    files.clone().with("config.json", serde_json::to_vec(config).unwrap())
}

/// What the library keeps in every configuration and nothing reads.
const NOT_OURS: [&str; 4] = ["id2label", "label2id", "architectures", "model_type"];

#[test]
fn no_value_of_a_configuration_breaks_the_exporter() {
    for name in ["d_fine", "deimv2-dino", "deimv2-lite", "deformable_detr-two-stage"] {
        let folder = fixture(name);
        let (files, options) = (in_memory(&folder), options(&folder));
        let config = config(&files);
        let mut places: Vec<Vec<&str>> = Vec::new();
        for (key, value) in config.as_object().unwrap() {
            if let (true, Some(inner)) = (key.as_str() == "backbone_config", value.as_object()) {
                places.extend(inner.keys().map(|inner| vec![key.as_str(), inner]));
            }
            places.push(vec![key]);
        }
        places.retain(|place| !place.iter().any(|key| NOT_OURS.contains(key)));
        for place in places {
            for value in [json!(1_000_000_000), json!(0), json!(-1), json!("x"), json!([0, 1e300])] {
                let mut changed = config.clone();
                let pointer = format!("/{}", place.join("/"));
                *changed.pointer_mut(&pointer).unwrap() = value.clone();
                if let Err(error) = export(&with_config(&files, &changed), &options) {
                    let kind = error.kind();
                    let fits = [ErrorKind::ExportFailed, ErrorKind::Unusable, ErrorKind::OptionNeeded];
                    assert!(fits.contains(&kind), "{name}: {pointer} = {value}: {kind:?} {error}");
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_honoured_is_refused_by_its_key() {
    let cases = [
        ("d_fine", "/max_num_bins", json!(31), "max_num_bins"),
        ("d_fine", "/eval_idx", json!(2), "eval_idx"),
        ("d_fine", "/eval_idx", json!(-3), "eval_idx"),
        ("d_fine", "/depth_mult", json!(1e9), "depth_mult"),
        ("d_fine", "/backbone_config/model_type", json!("swin"), "backbone_config.model_type"),
        ("d_fine", "/backbone_config/depths", json!(vec![1; 9]), "backbone_config.depths"),
        ("d_fine", "/backbone_config/stage_kernel_size", json!([3, 3]), "backbone_config.stage_in_channels"),
        ("deimv2-dino", "/backbone_config/reshape_hidden_states", json!(false), "reshape_hidden_states"),
        ("deimv2-dino", "/backbone_config/num_attention_heads", json!(12), "num_attention_heads"),
        ("deimv2-dino", "/backbone_config/patch_size", json!([16, 8]), "patch_size"),
        ("deformable_detr-two-stage", "/with_box_refine", json!(false), "with_box_refine"),
        ("deformable_detr-two-stage", "/d_model", json!(48), "d_model"),
        ("deformable_detr-two-stage", "/two_stage_num_proposals", json!(5000), "two_stage_num_proposals"),
        ("deformable_detr-two-stage", "/num_feature_levels", json!(2), "num_feature_levels"),
    ];
    for (name, pointer, value, blamed) in cases {
        let folder = fixture(name);
        let files = in_memory(&folder);
        let mut changed = config(&files);
        let (object, key) = pointer.rsplit_once('/').unwrap();
        changed.pointer_mut(object).unwrap()[key] = value.clone();
        let error = export(&with_config(&files, &changed), &options(&folder)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ExportFailed, "{name}: {pointer} = {value}: {error}");
        assert!(error.to_string().contains(blamed), "{name}: {pointer} = {value}: {error}");
    }
}

#[test]
fn layers_behind_the_one_that_counts_are_left_out() {
    let folder = fixture("d_fine");
    let files = in_memory(&folder);
    let mut changed = config(&files);
    let whole = export(&files, &ExportOptions::default()).unwrap();
    changed["eval_idx"] = json!(0);
    let early = export(&with_config(&files, &changed), &ExportOptions::default()).unwrap();
    assert!(early.model.graph.nodes.len() + 40 < whole.model.graph.nodes.len());
    assert!(early.ignored.iter().any(|name| name.starts_with("model.decoder.layers.1.")));
    assert!(!whole.ignored.iter().any(|name| name.starts_with("model.decoder.layers.")));
    assert!(whole.ignored.iter().any(|name| name.starts_with("model.decoder.lqe_layers.0.")));
}

#[test]
fn a_head_that_all_layers_share_is_read_under_any_of_its_names() {
    let folder = fixture("deimv2-lite");
    let files = in_memory(&folder);
    let bytes = |files: &MemoryFiles| {
        let exported = export(files, &ExportOptions::default()).unwrap();
        let mut bytes = Vec::new();
        graph::onnx::write(&exported.model, &mut bytes).unwrap();
        bytes.len()
    };
    let stored = files.read("model.safetensors").unwrap().to_vec();
    let (from, to) = (b"decoder.bbox_embed.0.", b"decoder.bbox_embed.2.");
    let mut renamed = stored.clone();
    let places: Vec<usize> =
        (0..stored.len() - from.len()).filter(|at| &stored[*at..*at + from.len()] == from).collect();
    assert_eq!(places.len(), 6);
    for at in places {
        renamed[at..at + to.len()].copy_from_slice(to);
    }
    assert_eq!(bytes(&files), bytes(&files.clone().with("model.safetensors", renamed)));
}

#[test]
fn images_that_are_stretched_need_no_mask() {
    let folder = fixture("deformable_detr");
    let nodes = |resize, deformable| {
        let options = ExportOptions { resize, deformable, ..options(&folder) };
        let exported = export(&folder, &options).unwrap();
        exported.model.graph.nodes.iter().map(|node| node.op_type.clone()).collect::<Vec<_>>()
    };
    let padded = nodes(None, DeformableForm::GridSample);
    let whole = nodes(Some(detect::Resize::Stretch), DeformableForm::GridSample);
    assert!(whole.len() + 30 < padded.len(), "{} and {}", whole.len(), padded.len());
    assert!(!whole.iter().any(|op| op == "Greater"));
    assert!(!nodes(None, DeformableForm::Gather).iter().any(|op| op == "GridSample"));
}

//! DETR and its relatives: padding, the names of two generations, switches of the configuration.

use detect::{BoxFormat, Head, Resize, Selection};
use models::{Error, ErrorKind, ExportOptions, Exported, Files, MemoryFiles, export};
use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::sources::{fixture, in_memory};

const FAMILIES: [&str; 4] = ["conditional_detr", "dab_detr", "detr", "table_transformer"];

fn plain() -> ExportOptions {
    ExportOptions { size: Some((128, 160)), ..ExportOptions::default() }
}

fn changed(files: &MemoryFiles, key: &str, value: Value) -> MemoryFiles {
    let mut config: Value = serde_json::from_slice(&files.read("config.json").unwrap()).unwrap();
    config[key] = value;
    files.clone().with("config.json", serde_json::to_vec(&config).unwrap())
}

fn bytes_of(files: &dyn Files) -> Vec<u8> {
    let mut bytes = Vec::new();
    graph::onnx::write(&export(files, &plain()).unwrap().model, &mut bytes).unwrap();
    bytes
}

fn has(exported: &Exported, op: &str) -> bool {
    exported.model.graph.nodes.iter().any(|node| node.op_type == op)
}

#[test]
fn only_a_padded_image_needs_a_mask() {
    for name in FAMILIES {
        let files = fixture(name);
        let padded = export(&files, &plain()).unwrap();
        assert!(matches!(padded.detector.input.resize, Resize::ShortestEdge { shortest: 96, .. }), "{name}");
        assert!(has(&padded, "Abs") && has(&padded, "And") && has(&padded, "Sin"), "{name}");
        let stretched = ExportOptions { resize: Some(Resize::Stretch), ..plain() };
        let stretched = export(&files, &stretched).unwrap();
        assert!(!has(&stretched, "Abs") && !has(&stretched, "Where"), "{name}");
        assert_eq!(has(&stretched, "Sin"), name == "dab_detr", "{name}");
        assert!(stretched.model.graph.nodes.len() + 15 < padded.model.graph.nodes.len(), "{name}");
        // The canvas is the processor's longest edge where nothing is asked for, and that is told.
        let all = export(&files, &ExportOptions::default()).unwrap();
        assert_eq!((all.detector.input.height, all.detector.input.width), (160, 160));
        assert!(all.warnings.iter().any(|warning| warning.contains("160×160")), "{:?}", all.warnings);
        assert!(!padded.warnings.iter().any(|warning| warning.contains("padded")));
    }
}

#[test]
fn heads_are_those_of_the_families() {
    for name in FAMILIES {
        let detector = export(&fixture(name), &plain()).unwrap().detector;
        let Head::Queries { format, selection, .. } = detector.head else { panic!("{name}") };
        assert_eq!(format, BoxFormat::CxcywhNormalized);
        let per_query = ["detr", "table_transformer"].contains(&name);
        let expected = if per_query { Selection::PerQuery } else { Selection::TopK { count: 100 } };
        assert_eq!(selection, expected, "{name}");
    }
}

#[test]
fn names_of_the_fifth_generation_are_read_too() {
    for name in ["conditional_detr", "detr"] {
        let files = in_memory(&fixture(name));
        let bytes = files.read("model.safetensors").unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let renamed = file.tensors().into_iter().map(|(name, view)| {
            let name =
                name.replace("backbone.conv_encoder.model", "backbone.model").replace("out_proj", "o_proj");
            let name = name.replace(".fc1.", ".mlp.fc1.").replace(".fc2.", ".mlp.fc2.");
            let name = name
                .replace(".sa_v_proj.", ".self_attn.v_proj.")
                .replace(".ca_v_proj.", ".encoder_attn.v_proj.");
            (name.replace(".ca_qpos_sine_proj.", ".encoder_attn.q_pos_sine_proj."), view)
        });
        let renamed = safetensors::serialize(renamed, None).unwrap();
        assert!(bytes_of(&files) == bytes_of(&files.clone().with("model.safetensors", renamed)), "{name}");
    }
}

#[test]
fn general_names_of_sizes_are_read() {
    let files = in_memory(&fixture("detr"));
    let whole = bytes_of(&files);
    let mut config: Value = serde_json::from_slice(&files.read("config.json").unwrap()).unwrap();
    let keys = config.as_object_mut().unwrap();
    for (own, general) in [("d_model", "hidden_size"), ("encoder_attention_heads", "num_attention_heads")] {
        let value = keys.remove(own).unwrap();
        keys.insert(general.into(), value);
    }
    let general = files.with("config.json", serde_json::to_vec(&config).unwrap());
    assert!(bytes_of(&general) == whole);
}

#[test]
fn what_cannot_be_honoured_is_refused() {
    let timm = |name: &str| json!({"model_type": "timm_backbone", "backbone": name, "out_indices": [4]});
    let cases = [
        ("backbone_config", timm("convnext_tiny")),
        (
            "backbone_config",
            json!({"model_type": "timm_backbone", "backbone": "resnet18", "output_stride": 4}),
        ),
        (
            "backbone_config",
            json!({"model_type": "timm_backbone", "backbone": "resnet50d", "output_stride": 16}),
        ),
        (
            "backbone_config",
            json!({"model_type": "timm_backbone", "backbone": "resnet18", "out_indices": [5]}),
        ),
        ("backbone_config", json!({"model_type": "focalnet"})),
        ("position_embedding_type", json!("learnt")),
        ("activation_function", json!("sine")),
        ("num_channels", json!(4)),
        ("d_model", json!(30)),
    ];
    let files = in_memory(&fixture("detr"));
    for (key, value) in cases {
        let error = export(&changed(&files, key, value.clone()), &plain()).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{key} = {value}: {error}");
    }
    let segments = changed(&files, "architectures", json!(["DetrForSegmentation"]));
    assert_eq!(export(&segments, &plain()).unwrap_err().kind(), ErrorKind::NotADetector);
    // Learned positions end after 50 cells.
    let learned = fixture("detr-odd");
    let large = ExportOptions { size: Some((1700, 1700)), ..ExportOptions::default() };
    assert!(matches!(export(&learned, &large), Err(Error::Underivable { .. })));
}

#[test]
fn absurd_configurations_are_refused_before_anything_is_built() {
    let numbers = [
        "num_queries",
        "decoder_layers",
        "encoder_attention_heads",
        "decoder_attention_heads",
        "encoder_ffn_dim",
        "decoder_ffn_dim",
    ];
    for name in FAMILIES {
        let files = in_memory(&fixture(name));
        let width = if name == "dab_detr" { "hidden_size" } else { "d_model" };
        for key in numbers.into_iter().chain([width, "encoder_layers"]) {
            for value in [json!(1_000_000_000), json!(0), json!(-1), json!("x"), json!([])] {
                if key == "encoder_layers" && value == json!(0) {
                    continue;
                }
                let error = export(&changed(&files, key, value.clone()), &plain()).unwrap_err();
                let kind = error.kind();
                assert!(
                    matches!(kind, ErrorKind::ExportFailed | ErrorKind::Unusable),
                    "{name}, {key} = {value}: {error}"
                );
            }
        }
    }
    let dab = in_memory(&fixture("dab_detr"));
    for (key, value) in [
        ("num_patterns", json!(1_000_000_000)),
        ("query_dim", json!(2)),
        ("temperature_height", json!(0)),
        ("temperature_width", json!(-1.0)),
        ("sine_position_embedding_scale", json!(0.0)),
    ] {
        let error = export(&changed(&dab, key, value.clone()), &plain()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ExportFailed, "{key} = {value}: {error}");
    }
}

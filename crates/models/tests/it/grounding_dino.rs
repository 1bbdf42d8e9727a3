//! Grounding DINO: prompts, names of older checkpoints, configurations that cannot be honoured.

use models::{ErrorKind, ExportOptions, Files, MemoryFiles, Prompt, export};
use serde_json::json;

use crate::sources::{fixture, in_memory, options, with_config, with_tensors};

fn files() -> MemoryFiles {
    in_memory(&fixture("grounding_dino"))
}

fn prompted(texts: &[&str]) -> ExportOptions {
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    let prompt = (!texts.is_empty()).then_some(Prompt { texts, task: None });
    ExportOptions { prompt, ..options(&fixture("grounding_dino")) }
}

fn bytes_of(files: &dyn Files, options: &ExportOptions) -> Vec<u8> {
    let mut bytes = Vec::new();
    graph::onnx::write(&export(files, options).unwrap().model, &mut bytes).unwrap();
    bytes
}

#[test]
fn the_fourth_generations_names_are_read_too() {
    let renames = [
        ("backbone.conv_encoder.model.swin.", "backbone.conv_encoder.model."),
        (".attention.q_proj.", ".attention.self.query."),
        (".attention.k_proj.", ".attention.self.key."),
        (".attention.v_proj.", ".attention.self.value."),
        (".attention.o_proj.", ".attention.output.dense."),
        (".relative_position_bias.relative", ".self.relative"),
        ("bbox_embed.0.", "model.decoder.bbox_embed.0."),
    ];
    let older = with_tensors(&files(), |name| {
        if name.contains("swin.layernorm") {
            return None;
        }
        if name.contains("text_backbone") || name.contains("encoder_output") {
            return Some(name.to_owned());
        }
        let name = renames.iter().fold(name.to_owned(), |name, (new, old)| name.replace(new, old));
        let in_block = name.contains(".blocks.");
        Some(if in_block {
            name.replace(".mlp.fc1.", ".intermediate.dense.").replace(".mlp.fc2.", ".output.dense.")
        } else {
            name
        })
    });
    let options = prompted(&["a cat . dog ."]);
    assert_eq!(bytes_of(&older, &options), bytes_of(&files(), &options));
}

#[test]
fn labels_and_a_caption_of_them_are_the_same() {
    let classes = |texts: &[&str]| export(&files(), &prompted(texts)).unwrap().detector.labels.to_lines();
    assert_eq!(classes(&["Red Car . dog ."]), "red car\ndog\n");
    assert_eq!(classes(&["Red Car", "dog"]), "red car\ndog\n");
    assert_eq!(classes(&["dog"]), "dog\n");
    let one = prompted(&["red car. dog."]);
    assert_eq!(bytes_of(&files(), &one), bytes_of(&files(), &prompted(&["Red Car ", "dog"])));
}

#[test]
fn prompts_that_cannot_be_read_are_refused() {
    let long = format!("{}.", "a ".repeat(60));
    let phrase = format!("{}.", "a ".repeat(40));
    let cases: [(&[&str], &str); 7] = [
        (&[], "what to look for"),
        (&[" . "], "names nothing"),
        (&[""], "names nothing"),
        (&["a cat.", "a dog."], "one caption"),
        (&[&long], "tokens long, the model reads 48"),
        (&[&phrase], "a phrase of more than 32 tokens"),
        (&["cat . \u{200b} ."], "nothing in"),
    ];
    for (texts, words) in cases {
        let error = export(&files(), &prompted(texts)).unwrap_err();
        assert!(error.to_string().contains(words), "{texts:?}: {error}");
    }
    let task = Prompt { texts: vec!["cat".into()], task: Some("find".into()) };
    let error = export(&files(), &ExportOptions { prompt: Some(task), ..prompted(&[]) }).unwrap_err();
    assert!(error.to_string().contains("--task"), "{error}");
}

#[test]
fn the_text_is_computed_once_for_all_images() {
    let exported = export(&files(), &prompted(&["cat . dog ."])).unwrap();
    let graph = &exported.model.graph;
    let vocabulary = graph.initializers.values().any(|tensor| tensor.shape().first() == Some(&1040));
    assert!(!vocabulary, "only the rows of the prompt are stored");
    let text = ["/model/text_backbone/", "/model/text_projection/"];
    let text: Vec<_> =
        graph.nodes.iter().filter(|node| text.iter().any(|scope| node.name.starts_with(scope))).collect();
    assert!(text.len() > 40, "{}", text.len());
    for node in text {
        let shape = graph.values[&node.outputs[0]].shape.as_ref().unwrap();
        assert!(shape.iter().all(|dim| dim.fixed().is_some()), "{} {shape:?}", node.name);
    }
}

#[test]
fn configurations_that_cannot_be_honoured_are_refused() {
    let files = files();
    let huge = json!(1_000_000_000);
    let sizes = [
        "num_queries",
        "decoder_layers",
        "d_model",
        "encoder_ffn_dim",
        "decoder_ffn_dim",
        "num_feature_levels",
        "encoder_n_points",
        "decoder_n_points",
        "decoder_attention_heads",
        "encoder_attention_heads",
        "max_text_len",
    ];
    let absurd = |key| [(key, huge.clone()), (key, json!(0)), (key, json!(-1)), (key, json!("x"))];
    let mut cases: Vec<(&str, serde_json::Value)> = sizes.into_iter().flat_map(absurd).collect();
    cases.extend([
        ("encoder_layers", huge.clone()),
        ("encoder_attention_heads", json!(1)),
        ("d_model", json!(48)),
        ("query_dim", json!(2)),
        ("embedding_init_target", json!(false)),
        ("two_stage", json!(false)),
        ("num_feature_levels", json!(2)),
        ("position_embedding_type", json!("magic")),
        ("positional_embedding_temperature", json!(0)),
        ("activation_function", json!("magic")),
        ("layer_norm_eps", json!(-1.0)),
        ("num_queries", json!(90_000)),
        ("text_config", json!([])),
        ("text_config", json!({"model_type": "roberta"})),
        ("text_config", json!({"vocab_size": 8})),
        ("text_config", json!({"position_embedding_type": "relative_key"})),
        ("text_config", json!({"num_hidden_layers": 1_000_000})),
        ("text_config", json!({"num_attention_heads": 0})),
        ("backbone_config", json!({"model_type": "vit"})),
        ("backbone_config", json!({"window_size": 1_000_000})),
        ("backbone_config", json!({"window_size": 0})),
        ("backbone_config", json!({"patch_size": 0})),
        ("backbone_config", json!({"patch_size": [4]})),
        ("backbone_config", json!({"embed_dim": 65_536})),
        ("backbone_config", json!({"embed_dim": 8, "num_heads": [3, 3, 3, 3]})),
        ("backbone_config", json!({"depths": vec![1; 100], "num_heads": vec![1; 100]})),
        ("backbone_config", json!({"depths": [], "num_heads": []})),
        ("backbone_config", json!({"mlp_ratio": 1e300})),
        ("backbone_config", json!({"out_indices": [9]})),
        ("backbone_config", json!({"use_absolute_embeddings": true, "image_size": u64::MAX})),
        ("backbone_config", json!([])),
        ("backbone", json!("swin_tiny_patch4_window7_224")),
    ]);
    for (key, value) in cases {
        let mut changed = with_config(&files, key, value.clone());
        if key == "backbone" {
            changed = with_config(&changed, "backbone_config", json!(null));
        }
        let error = export(&changed, &prompted(&["cat . dog ."])).unwrap_err();
        let kind = error.kind();
        let expected = [ErrorKind::ExportFailed, ErrorKind::Unusable, ErrorKind::OptionNeeded];
        assert!(expected.contains(&kind), "{key} = {value}: {kind:?} {error}");
    }
}

//! Damaged and hostile sources: one clear error each, no panic, no large allocation.

use models::{Checkpoint, Error, ErrorKind, ExportOptions, Files, MemoryFiles, export};

use crate::sources::{fixture, in_memory, options};

const FILE: &str = "model.safetensors";

fn checkpoint(bytes: Vec<u8>) -> Result<Checkpoint, Error> {
    Checkpoint::read(&MemoryFiles::new().with(FILE, bytes))
}

/// A file with this header and this many bytes of data.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn a_file_cut_anywhere_is_one_error_that_names_it() {
    let whole = fixture("rt_detr").read(FILE).unwrap();
    assert!(checkpoint(whole.to_vec()).is_ok());
    let lengths = (0..64).chain((64..whole.len()).step_by(4099)).chain([whole.len() - 1]);
    for length in lengths {
        match checkpoint(whole[..length].to_vec()) {
            Err(error @ Error::Damaged { .. }) => {
                assert!(error.to_string().contains(FILE), "{error}");
                assert_eq!(error.kind(), ErrorKind::Unusable);
            }
            other => panic!("{length} bytes: {other:?}"),
        }
    }
    let mut longer = whole.to_vec();
    longer.push(0);
    assert!(matches!(checkpoint(longer), Err(Error::Damaged { .. })));
}

#[test]
fn lying_headers_are_told_with_the_tensor_to_blame() {
    let good = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}"#;
    assert_eq!(checkpoint(file(good, 12)).unwrap().facts().tensors.len(), 2);
    let deep = format!(r#"{{"a":{}}}"#, "[".repeat(100_000));
    let cases = [
        ("overlap", good.replace("[8,12]", "[4,8]"), "`b`"),
        ("gap", good.replace("[8,12]", "[9,13]"), "`b`"),
        ("backwards", good.replace("[8,12]", "[8,4]"), "`b`"),
        ("shape", good.replace("[2]", "[3]"), "`a`"),
        ("type", good.replacen("F32", "F16", 1), "`a`"),
        ("huge shape", good.replace("[1]", "[18446744073709551615,4]"), "`b`"),
        ("unknown type", good.replacen("F32", "F33", 1), "header"),
        ("negative offset", good.replace("[8,12]", "[-8,12]"), "header"),
        ("no object", "[]".to_owned(), "header"),
        ("no JSON", "{".to_owned(), "header"),
        ("deep JSON", deep, "header"),
    ];
    for (name, header, blamed) in cases {
        match checkpoint(file(&header, 12)) {
            Err(error @ Error::Damaged { .. }) => {
                assert!(error.to_string().contains(blamed), "{name}: {error}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn lying_header_lengths_allocate_nothing() {
    let good = file(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 1);
    for length in [u64::MAX, u64::MAX - 8, 1 << 40, 100_000_001, good.len() as u64, 0, 1] {
        let mut bytes = good.clone();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        assert!(matches!(checkpoint(bytes), Err(Error::Damaged { .. })), "{length}");
    }
}

#[test]
fn element_types_are_listed_and_refused_only_when_used() {
    let header = r#"{"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"F64","shape":[1],"data_offsets":[2,10]}}"#;
    let facts = checkpoint(file(header, 10)).unwrap().facts();
    assert_eq!(facts.tensors[0].dtype, "F8_E4M3");
    assert_eq!((facts.parameters, facts.bytes), (3, 10));

    let files = in_memory(&fixture("rt_detr"));
    let mut bytes = files.read(FILE).unwrap().to_vec();
    // The same bytes under another name of the same width.
    let name = b"\"model.enc_output.0.bias\":{\"dtype\":\"F16\"";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
    bytes[at + name.len() - 4] = b'I';
    let Err(Error::Weights(mismatch)) = export(&files.with(FILE, bytes), &ExportOptions::default()) else {
        panic!("not refused")
    };
    assert_eq!(mismatch.unusable.len(), 1);
    assert!(mismatch.unusable[0].1.contains("`I16`"), "{mismatch:?}");
}

#[test]
fn an_index_is_believed_only_where_the_shards_agree() {
    let shard = |names: &[&str]| {
        let entries: Vec<String> = names
            .iter()
            .enumerate()
            .map(|(at, name)| {
                format!(r#""{name}":{{"dtype":"U8","shape":[1],"data_offsets":[{at},{}]}}"#, at + 1)
            })
            .collect();
        file(&format!("{{{}}}", entries.join(",")), names.len())
    };
    let files = MemoryFiles::new()
        .with("1.safetensors", shard(&["a", "b"]))
        .with("2.safetensors", shard(&["c"]))
        .with("3.safetensors", shard(&["b"]));
    let read = |map: &str| {
        let index = format!(r#"{{"weight_map": {map}}}"#);
        Checkpoint::read(&files.clone().with("model.safetensors.index.json", index.into_bytes()))
    };
    let good = r#"{"a": "1.safetensors", "b": "1.safetensors", "c": "2.safetensors"}"#;
    assert_eq!(read(good).unwrap().facts().tensors.len(), 3);
    let cases = [
        ("outside", good.replace("2.saf", "../2.saf")),
        ("absolute", good.replace("\"2.saf", "\"/2.saf")),
        ("backslash", good.replace("2.saf", "..\\\\2.saf")),
        ("hidden", good.replace("\"2.saf", "\".2.saf")),
        ("another kind of file", good.replace("2.safetensors", "config.json")),
        ("listed but absent", good.replace("\"c\"", "\"d\"")),
        ("not listed", r#"{"a": "1.safetensors", "c": "2.safetensors"}"#.to_owned()),
        ("in the wrong shard", good.replace("\"b\": \"1", "\"b\": \"2")),
        ("in two shards", good.replace("\"c\": \"2", "\"b2\": \"3")),
        ("nothing", "{}".to_owned()),
        ("no map", "[]".to_owned()),
    ];
    for (name, map) in cases {
        match read(&map) {
            Err(Error::Damaged { .. }) => {}
            other => panic!("{name}: {other:?}"),
        }
    }
    let missing = good.replace("2.saf", "9.saf");
    assert!(matches!(read(&missing), Err(Error::MissingFile { file }) if file == "9.safetensors"));
}

#[test]
fn shapes_without_elements_but_with_huge_sides_are_refused() {
    let files = in_memory(&fixture("rt_detr"));
    let header = r#"{"model.enc_score_head.weight":{"dtype":"F32","shape":[0,4611686018427387904],"data_offsets":[0,0]}}"#;
    for shape in ["[0,4611686018427387904]", "[4611686018427387904,0]"] {
        let files = files.clone().with(FILE, file(&header.replace("[0,4611686018427387904]", shape), 0));
        let error = export(&files, &ExportOptions::default()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::ExportFailed | ErrorKind::NoLabels), "{error}");
    }
}

#[test]
fn absurd_configurations_are_refused_before_anything_is_built() {
    let files = in_memory(&fixture("rt_detr_v2"));
    let text = files.read("config.json").unwrap();
    let config: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let huge = serde_json::json!(1_000_000_000);
    let mut cases: Vec<(&str, serde_json::Value)> = [
        "num_queries",
        "decoder_layers",
        "encoder_layers",
        "d_model",
        "encoder_hidden_dim",
        "encoder_ffn_dim",
        "decoder_ffn_dim",
        "num_feature_levels",
        "decoder_n_points",
        "decoder_attention_heads",
        "encoder_attention_heads",
        "decoder_n_levels",
        "hidden_expansion",
    ]
    .into_iter()
    .flat_map(|key| {
        [
            (key, huge.clone()),
            (key, serde_json::json!(0)),
            (key, serde_json::json!(-1)),
            (key, serde_json::json!("x")),
        ]
    })
    .filter(|(key, value)| !(*key == "encoder_layers" && *value == serde_json::json!(0)))
    .collect();
    cases.extend([
        ("decoder_n_points", serde_json::json!([4, 4])),
        ("decoder_n_points", serde_json::json!([])),
        ("encode_proj_layers", serde_json::json!([7])),
        ("encode_proj_layers", serde_json::json!(vec![0; 1000])),
        ("encoder_in_channels", serde_json::json!(vec![16; 100_000])),
        ("feat_strides", serde_json::json!([0, 0, 0])),
        ("layer_norm_eps", serde_json::json!(-1.0)),
        ("batch_norm_eps", serde_json::json!(1e300)),
        ("decoder_method", serde_json::json!("magic")),
        ("anchor_image_size", serde_json::json!([640, 640])),
        ("anchor_image_size", serde_json::json!(640)),
        ("backbone_config", serde_json::json!({"model_type": "swin"})),
        ("backbone_config", serde_json::json!({"depths": [1_000_000_000], "hidden_sizes": [8]})),
        ("backbone_config", serde_json::json!({"depths": vec![1; 10_000], "hidden_sizes": vec![8; 10_000]})),
        ("backbone_config", serde_json::json!({"out_indices": [9]})),
        ("backbone_config", serde_json::json!({"num_channels": 4})),
        ("backbone_config", serde_json::json!([])),
    ]);
    for (key, value) in cases {
        let mut changed = config.clone();
        changed[key] = value.clone();
        let files = files.clone().with("config.json", serde_json::to_vec(&changed).unwrap());
        let error = export(&files, &ExportOptions::default()).unwrap_err();
        let kind = error.kind();
        assert!(
            matches!(kind, ErrorKind::ExportFailed | ErrorKind::Unusable),
            "{key} = {value}: {kind:?} {error}"
        );
    }
    let size = serde_json::json!({"image_processor_type": "RTDetrImageProcessor", "size": {"height": 16384, "width": 16384}});
    let files = files.with("preprocessor_config.json", serde_json::to_vec(&size).unwrap());
    assert_eq!(export(&files, &ExportOptions::default()).unwrap_err().kind(), ErrorKind::OptionNeeded);
}

/// The paths of all values below `value` that hold no others.
fn leaves(value: &serde_json::Value, path: &str, found: &mut Vec<String>) {
    let below: Vec<(String, &serde_json::Value)> = match value {
        serde_json::Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
        serde_json::Value::Array(list) => {
            list.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect()
        }
        _ => Vec::new(),
    };
    if !path.is_empty() {
        found.push(path.to_owned());
    }
    for (key, value) in below {
        leaves(value, &format!("{path}/{key}"), found);
    }
}

#[test]
fn any_value_of_a_prompted_detector_may_be_absurd() {
    let absurd = [
        serde_json::json!(1_000_000_000),
        serde_json::json!(u64::MAX),
        serde_json::json!(0),
        serde_json::json!(-1),
        serde_json::json!(0.5),
        serde_json::json!("x"),
        serde_json::json!([]),
        serde_json::json!({}),
        serde_json::json!(null),
    ];
    let mut refused = 0;
    for name in ["omdet_turbo-odd", "owlvit-odd"] {
        let folder = fixture(name);
        let (files, options) = (in_memory(&folder), options(&folder));
        for file in ["config.json", "preprocessor_config.json", "tokenizer_config.json"] {
            let content: serde_json::Value = serde_json::from_slice(&files.read(file).unwrap()).unwrap();
            let mut paths = Vec::new();
            leaves(&content, "", &mut paths);
            for path in paths {
                for value in &absurd {
                    let mut changed = content.clone();
                    *changed.pointer_mut(&path).unwrap() = value.clone();
                    let files = files.clone().with(file, changed.to_string());
                    refused += usize::from(export(&files, &options).is_err());
                }
            }
        }
    }
    assert!(refused > 500, "{refused}");
}

//! Listings of real repositories, shortened, and what is chosen from them.

use super::*;

fn listing(paths: &[&str]) -> Listing {
    let entries = paths
        .iter()
        .map(|path| Entry { path: path.parse().unwrap(), size: Some(1000), digest: None })
        .collect();
    Listing { entries, left_out: Vec::new() }.sorted()
}

const COMMUNITY: [&str; 12] = [
    ".gitattributes",
    "README.md",
    "config.json",
    "preprocessor_config.json",
    "quantize_config.json",
    "onnx/model.onnx",
    "onnx/model_fp16.onnx",
    "onnx/model_int8.onnx",
    "onnx/model_q4.onnx",
    "onnx/model_quantized.onnx",
    "onnx/model_uint8.onnx",
    "onnx/model.onnx_data",
];

#[test]
fn the_preference_decides_between_variants() {
    let all = listing(&COMMUNITY);
    let cases = [
        ("default", "onnx/model.onnx"),
        ("seeds", "onnx/model_fp16.onnx"),
        ("int8", "onnx/model_int8.onnx"),
        ("uint8", "onnx/model_uint8.onnx"),
        ("q4", "onnx/model_q4.onnx"),
        ("quantized", "onnx/model_quantized.onnx"),
        ("model_fp16.onnx", "onnx/model_fp16.onnx"),
        ("onnx/model_fp16.onnx", "onnx/model_fp16.onnx"),
    ];
    for (preference, expected) in cases {
        let choice = choose(&all, None, &preference.parse().unwrap(), "x").unwrap();
        assert_eq!(choice.main.as_str(), expected, "{preference}");
        assert_eq!(choice.candidates.len(), 6, "{preference}");
        assert_eq!(choice.candidates.iter().filter(|c| c.chosen).count(), 1, "{preference}");
        assert!(choice.log[0].contains("All available: ["), "{preference}");
    }
}

#[test]
fn the_seeds_order_is_fp16_fp32_int8_int4_quantized_then_by_name() {
    let order = [
        "model_fp16.onnx",
        "model.onnx",
        "model_int8.onnx",
        "model_q4.onnx",
        "model_quantized.onnx",
        "model_uint8.onnx",
    ];
    for left_out in 0..order.len() {
        let rest = listing(&order[left_out..]);
        let choice = choose(&rest, None, &VariantPreference::Seeds, "x").unwrap();
        assert_eq!(choice.main.as_str(), order[left_out]);
    }
}

#[test]
fn the_log_says_why_quantized_files_are_left() {
    let choice = choose(&listing(&COMMUNITY), None, &VariantPreference::Fp32First, "x").unwrap();
    let log = choice.log.join("\n");
    assert!(log.contains("4 quantized file(s)") && log.contains("TensorRT cannot run"), "{log}");
    assert_eq!(choice.parts.iter().map(RepoPath::as_str).collect::<Vec<_>>(), ["onnx/model.onnx_data"]);
    let companions: Vec<_> = choice.companions.iter().map(RepoPath::as_str).collect();
    assert_eq!(companions, ["README.md", "config.json", "preprocessor_config.json", "quantize_config.json"]);
}

#[test]
fn a_missing_variant_names_what_there_is() {
    let some = listing(&["onnx/model.onnx", "config.json"]);
    for wanted in ["fp16", "model_fp16.onnx"] {
        let error = choose(&some, None, &wanted.parse().unwrap(), "x").unwrap_err();
        assert_eq!(error.exit_code(), 11, "{wanted}");
        assert!(error.hint().unwrap().contains("onnx/model.onnx"), "{wanted}");
    }
}

#[test]
fn weights_are_taken_in_order_of_safety() {
    let cases: [(&[&str], &str, usize); 8] = [
        (&["model.safetensors", "pytorch_model.bin", "config.json"], "model.safetensors", 0),
        (
            &[
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors",
                "model.safetensors.index.json",
            ],
            "model.safetensors.index.json",
            2,
        ),
        (&["pytorch_model.bin", "training_args.bin", "optimizer.pt"], "pytorch_model.bin", 0),
        (
            &["pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json"],
            "pytorch_model.bin.index.json",
            1,
        ),
        (&["last.pt", "best.pt", "optimizer.pt"], "best.pt", 0),
        (&["rtdetrv2_r18.pth"], "rtdetrv2_r18.pth", 0),
        (&["custom.safetensors", "best.pt"], "custom.safetensors", 0),
        (
            &["adapter_model.safetensors", "model.pt", "openvino_model.bin", "openvino_model.xml"],
            "model.pt",
            0,
        ),
    ];
    for (paths, expected, parts) in cases {
        let choice = choose(&listing(paths), None, &VariantPreference::default(), "x").unwrap();
        assert_eq!(choice.main.as_str(), expected);
        assert_eq!(choice.parts.len(), parts, "{expected}");
        assert!(matches!(choice.kind, Kind::Weights(_)));
    }
}

#[test]
fn a_graph_wins_over_weights_unless_the_weights_are_named() {
    let both = listing(&["model.safetensors", "onnx/model.onnx", "config.json"]);
    let choice = choose(&both, None, &VariantPreference::default(), "x").unwrap();
    assert_eq!((choice.main.as_str(), choice.candidates.len()), ("onnx/model.onnx", 2));
    let named = choose(&both, None, &"model.safetensors".parse().unwrap(), "x").unwrap();
    assert_eq!(named.kind, Kind::Weights(WeightsFormat::Safetensors));
    let weights = choose(&listing(&["model.safetensors"]), None, &"fp16".parse().unwrap(), "x").unwrap();
    assert!(weights.log[1].contains("says nothing about weights"), "{:?}", weights.log);
}

#[test]
fn an_address_can_name_a_folder_or_a_file() {
    let deep = listing(&[
        "v1/config.json",
        "v1/onnx/model.onnx",
        "v2/model.onnx",
        "v2/model_fp16.onnx",
        "config.json",
    ]);
    let within = |path: &str| choose(&deep, Some(&path.parse().unwrap()), &VariantPreference::default(), "x");
    let folder = within("v1").unwrap();
    assert_eq!(
        (folder.main.as_str(), folder.companions[0].as_str()),
        ("v1/onnx/model.onnx", "v1/config.json")
    );
    assert_eq!(within("v2/model_fp16.onnx").unwrap().main.as_str(), "v2/model_fp16.onnx");
    let file = within("v1/onnx/model.onnx").unwrap();
    assert_eq!(file.companions[0].as_str(), "v1/config.json");
    let graphs = within("v1/onnx").unwrap();
    assert_eq!(
        (graphs.main.as_str(), graphs.companions[0].as_str()),
        ("v1/onnx/model.onnx", "v1/config.json")
    );
    assert_eq!(within("v3").unwrap_err().exit_code(), 10);
    assert_eq!(within("v1/config.json").unwrap_err().exit_code(), 11);
}

#[test]
fn nothing_usable_says_what_is_there() {
    let cases: [(&[&str], &[&str]); 5] = [
        (&[], &["it is empty"]),
        (&["a.gguf", "README.md"], &["2 files (1 .gguf, 1 .md)", "`a.gguf` is GGUF"]),
        (&["model.engine"], &["bound to one GPU"]),
        (&["weights/best.pt"], &["`weights/best.pt` lies in a subfolder"]),
        (&["openvino.bin", "openvino.xml", "LICENSE"], &["1 without extension", "OpenVINO"]),
    ];
    for (paths, expected) in cases {
        let error = choose(&listing(paths), None, &VariantPreference::default(), "owner/name").unwrap_err();
        assert_eq!(error.exit_code(), 11);
        for part in expected {
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}

#[test]
fn an_encrypted_model_alone_is_explained() {
    let error = choose(
        &listing(&["resnet34_peoplenet.etlt", "resnet34_peoplenet_int8.txt", "labels.txt"]),
        None,
        &VariantPreference::default(),
        "nvidia/tao/peoplenet:v1",
    )
    .unwrap_err();
    assert_eq!(error.exit_code(), 11);
    assert!(error.hint().unwrap().contains("tao-converter -k"), "{error}");
}

#[test]
fn whole_networks_come_before_pieces() {
    let pieces = listing(&["onnx/decoder_model.onnx", "onnx/encoder_model.onnx", "onnx/model.onnx"]);
    let choice = choose(&pieces, None, &VariantPreference::default(), "x").unwrap();
    assert_eq!(choice.main.as_str(), "onnx/model.onnx");
    let root_first = listing(&["model.onnx", "onnx/model.onnx"]);
    assert_eq!(
        choose(&root_first, None, &VariantPreference::default(), "x").unwrap().main.as_str(),
        "model.onnx"
    );
}

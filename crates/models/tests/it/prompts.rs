//! Prompts of open-vocabulary detectors: what is refused, what becomes a class.

use models::{Error, ErrorKind, ExportOptions, Files, Prompt, export};

use crate::sources::{fixture, in_memory, options};

fn prompted(texts: &[&str], task: Option<&str>) -> ExportOptions {
    let texts = texts.iter().map(|text| (*text).to_owned()).collect();
    ExportOptions {
        prompt: Some(Prompt { texts, task: task.map(str::to_owned) }),
        ..ExportOptions::default()
    }
}

#[test]
fn each_text_is_a_class_called_as_it_is_written() {
    for name in ["owlvit", "owlv2", "omdet_turbo"] {
        let texts = ["A  photo of a Cat", "dog, dog", "dog, dog"];
        let exported = export(&fixture(name), &prompted(&texts, None)).unwrap();
        let labels: Vec<&str> = exported.detector.labels.iter().map(|(_, text)| text).collect();
        assert_eq!(labels, texts, "{name}");
        assert!(exported.warnings.iter().any(|warning| warning.contains("dog, dog")), "{name}");
    }
}

#[test]
fn prompts_that_cannot_be_meant_are_refused() {
    let long = "x".repeat(1 << 17);
    let many = vec!["cat"; 5000];
    let cases: [(&str, ExportOptions); 7] = [
        ("owlvit", ExportOptions::default()),
        ("owlvit", prompted(&[], None)),
        ("owlv2", prompted(&["cat", " "], None)),
        ("owlv2", prompted(&["cat"], Some("Find it"))),
        ("omdet_turbo", prompted(&["two\nlines"], None)),
        ("omdet_turbo", prompted(&[&long], None)),
        ("omdet_turbo", prompted(&many, None)),
    ];
    for (name, options) in cases {
        let error = export(&fixture(name), &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OptionNeeded, "{name}: {error}");
    }
}

#[test]
fn the_task_is_made_of_the_classes_or_given() {
    let folder = fixture("omdet_turbo");
    let bytes = |options: &ExportOptions| {
        let mut bytes = Vec::new();
        graph::onnx::write(&export(&folder, options).unwrap().model, &mut bytes).unwrap();
        bytes
    };
    let own = bytes(&prompted(&["cat", "dog"], None));
    assert_eq!(own, bytes(&prompted(&["cat", "dog"], Some("Detect cat, dog."))));
    assert_ne!(own, bytes(&prompted(&["cat", "dog"], Some("Find both."))));
}

#[test]
fn a_tokenizer_that_does_not_fit_is_told() {
    let folder = fixture("owlvit");
    let (files, options) = (in_memory(&folder), options(&folder));
    let mut gone = files.clone();
    for file in ["tokenizer.json", "vocab.json", "merges.txt"] {
        gone.remove(file);
    }
    assert!(matches!(export(&gone, &options), Err(Error::MissingFile { file }) if file == "tokenizer.json"));
    // Numbers beyond the embedding's rows.
    let text = String::from_utf8(files.read("tokenizer.json").unwrap().to_vec()).unwrap();
    let beyond = text.replace("599", "100000");
    let error = export(&files.clone().with("tokenizer.json", beyond), &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ExportFailed, "{error}");
    let config = r#"{"tokenizer_class": "CLIPTokenizer", "padding_side": "left"}"#;
    let error = export(&files.with("tokenizer_config.json", config), &options).unwrap_err();
    assert!(error.to_string().contains("padding_side"), "{error}");
}

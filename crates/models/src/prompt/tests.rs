//! The numbers are those of transformers (`tests/fixtures/make.py --tokens`).

use serde_json::{Value, json};

use super::*;
use crate::MemoryFiles;

macro_rules! layouts {
    ($($layout:literal: $($file:literal)*;)*) => {
        &[$(($layout, &[$(($file, include_bytes!(concat!("../../tests/fixtures/tokens/", $layout, "/", $file)))),*])),*]
    };
}

/// A file's name and content.
type File = (&'static str, &'static [u8]);

static LAYOUTS: &[(&str, &[File])] = layouts! {
    "clip": "ids.json" "tokenizer.json" "tokenizer_config.json";
    "clip-files": "ids.json" "merges.txt" "special_tokens_map.json" "tokenizer_config.json" "vocab.json";
    "bert": "ids.json" "tokenizer.json" "tokenizer_config.json";
    "bert-files": "ids.json" "tokenizer_config.json" "vocab.txt";
    "bert-cased": "ids.json" "tokenizer.json" "tokenizer_config.json";
    "bert-accents": "ids.json" "tokenizer_config.json" "vocab.txt";
};

fn layout(name: &str) -> MemoryFiles {
    let (_, files) = LAYOUTS.iter().find(|(layout, _)| *layout == name).unwrap();
    files.iter().fold(MemoryFiles::new(), |all, (file, content)| all.with(*file, *content))
}

fn numbers(ids: &Value) -> Vec<u32> {
    ids.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn numbers_are_those_of_the_original() {
    for (name, _) in LAYOUTS {
        let files = layout(name);
        let tokenizer = Tokenizer::read(&files).unwrap();
        let cases: Value = serde_json::from_slice(&files.read("ids.json").unwrap()).unwrap();
        assert!(cases.as_array().unwrap().len() > 20);
        for case in cases.as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            assert_eq!(tokenizer.encode(text, None).unwrap(), numbers(&case["ids"]), "{name}: {text:?}");
            let padded = tokenizer.encode_padded(text, 12).unwrap();
            assert_eq!(padded.ids, numbers(&case["padded"]), "{name}: {text:?}, padded");
            let real = padded.real.iter().filter(|real| **real).count();
            assert_eq!(real, numbers(&case["ids"]).len().min(12), "{name}: {text:?}");
        }
    }
}

#[test]
fn the_longest_text_is_read_where_it_is_told() {
    let files = layout("clip");
    let longest = |most: Value| {
        let config = json!({"tokenizer_class": "CLIPTokenizer", "model_max_length": most});
        let files = files.clone().with("tokenizer_config.json", config.to_string());
        Tokenizer::read(&files).unwrap().longest()
    };
    assert_eq!(longest(json!(77)), Some(77));
    assert_eq!(longest(json!(1e30)), None);
    assert_eq!(longest(json!(-1)), None);
    let tokenizer = Tokenizer::read(&files).unwrap();
    assert!(matches!(tokenizer.encode(&"x".repeat(LONGEST_TEXT + 1), None), Err(Error::Refused { .. })));
}

/// What is changed, in which layout, and how.
type Change<'a> = (&'a str, &'a str, &'a dyn Fn(&mut Value));

#[test]
fn a_damaged_tokenizer_is_one_error() {
    let change = |name: &str, change: &dyn Fn(&mut Value)| {
        let files = layout(name);
        let mut content: Value = serde_json::from_slice(&files.read("tokenizer.json").unwrap()).unwrap();
        change(&mut content);
        files.with("tokenizer.json", content.to_string())
    };
    let changes: [Change<'_>; 15] = [
        ("no model", "clip", &|file| file["model"] = Value::Null),
        ("another model", "clip", &|file| file["model"]["type"] = "Unigram".into()),
        ("prefix", "clip", &|file| file["model"]["continuing_subword_prefix"] = "long".into()),
        ("merge", "clip", &|file| file["model"]["merges"] = json!(["no such"])),
        ("merge of one", "clip", &|file| file["model"]["merges"] = json!(["a"])),
        ("negative id", "clip", &|file| file["model"]["vocab"] = json!({"a": -1})),
        ("vocabulary", "bert", &|file| file["model"]["vocab"] = "words".into()),
        ("normalizer", "clip", &|file| file["normalizer"]["normalizers"][0]["type"] = "Precompiled".into()),
        ("text for a part", "clip", &|file| file["pre_tokenizer"] = "ByteLevel".into()),
        ("pattern", "clip", &|file| {
            file["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(".repeat(50).into();
        }),
        ("long pattern", "clip", &|file| {
            file["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "a".repeat(5000).into();
        }),
        ("template", "bert", &|file| file["post_processor"]["special_tokens"] = json!({})),
        ("template of two", "bert", &|file| {
            file["post_processor"]["single"][1]["Sequence"]["id"] = "B".into();
        }),
        ("added", "bert", &|file| file["added_tokens"] = json!([{"id": "x"}])),
        ("version", "bert", &|file| file["version"] = "2.0".into()),
    ];
    for (what, name, by) in changes {
        let error = Tokenizer::read(&change(name, by)).err().unwrap_or_else(|| panic!("{what} was read"));
        assert!(matches!(error, Error::Damaged { .. } | Error::Unsupported { .. }), "{what}: {error}");
    }
    let clip = layout("clip-files");
    let broken = [
        clip.clone().with("merges.txt", "a\n"),
        clip.clone().with("merges.txt", vec![0xff, 0xfe]),
        clip.clone().with("vocab.json", "{}"),
        clip.clone().with("vocab.json", "[]"),
        clip.clone().with("tokenizer.json", vec![b' '; (64 << 20) + 1]),
        layout("clip").with("tokenizer_config.json", r#"{"pad_token": 7}"#),
        clip.clone().with("tokenizer_config.json", r#"{"added_tokens_decoder": {"x": "a"}}"#),
        layout("bert-files").with("tokenizer_config.json", r#"{"do_lower_case": "yes"}"#),
    ];
    for (at, files) in broken.iter().enumerate() {
        let error = Tokenizer::read(files).err().unwrap_or_else(|| panic!("{at} was read"));
        assert!(matches!(error, Error::Damaged { .. } | Error::Unsupported { .. }), "{at}: {error}");
    }
    assert!(matches!(Tokenizer::read(&MemoryFiles::new()), Err(Error::MissingFile { .. })));
}

/// The same bytes with one thing wrong: one changed, some gone, some twice.
fn mutated(bytes: &[u8], mut seed: u64) -> Vec<u8> {
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below.max(1)
    };
    let mut bytes = bytes.to_vec();
    let at = next(bytes.len());
    let end = (at + 1 + next(40)).min(bytes.len());
    match next(5) {
        0 => bytes[at] = next(256) as u8,
        1 => bytes[at] = b"0129-,:{}[]\"x\\"[next(14)],
        2 => drop(bytes.drain(at..end)),
        3 => {
            let piece = bytes[at..end].to_vec();
            let to = next(bytes.len());
            bytes.splice(to..to, piece);
        }
        _ => bytes.truncate(at),
    }
    bytes
}

#[test]
fn no_damage_is_more_than_an_error() {
    let (mut read, mut refused) = (0, 0);
    for (name, _) in LAYOUTS {
        let whole = layout(name);
        for file in whole.names().into_iter().filter(|file| file != "ids.json") {
            let bytes = whole.read(&file).unwrap();
            for seed in 0..300 {
                let files = whole.clone().with(file.as_str(), mutated(&bytes, seed));
                match Tokenizer::read(&files) {
                    Ok(tokenizer) => {
                        read += 1;
                        // What it says does not matter.
                        drop(tokenizer.encode_padded("a cat, it's  CAF\u{e9} [SEP] <|endoftext|>", 9));
                    }
                    Err(_) => refused += 1,
                }
            }
        }
    }
    assert!(read > 500 && refused > 500, "{read} read, {refused} refused");
}

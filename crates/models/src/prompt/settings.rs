//! `tokenizer_config.json`, with the defaults of the tokenizers' classes.

use serde_json::{Map, Value, json};
use tokenizers::TruncationDirection;

use crate::config::read_object;
use crate::{Error, Files};

pub(super) const CONFIG: &str = "tokenizer_config.json";
/// Older generations of the library keep the special tokens here.
const SPECIAL: &str = "special_tokens_map.json";

/// The keys of special tokens, in the order in which the library adds those that a vocabulary lacks.
const TOKENS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
/// A longest text beyond this means that there is none.
const UNBOUNDED: f64 = 1e6;

/// Which class of tokenizers it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Clip,
    Bert,
    /// What `tokenizer.json` says counts.
    Other,
}

/// What the file says.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) class: Class,
    pub(super) lowercase: bool,
    pub(super) strip_accents: Option<bool>,
    pub(super) chinese: bool,
    pub(super) longest: Option<usize>,
    pub(super) pads_left: bool,
    pub(super) truncates: TruncationDirection,
    /// Special tokens by their keys, as `tokenizer.json` writes added tokens.
    special: Vec<(&'static str, Value)>,
    /// Tokens that were added to the vocabulary.
    added: Vec<Value>,
}

impl Settings {
    pub(super) fn read(files: &dyn Files) -> Result<Self, Error> {
        let config = read_object(files, CONFIG)?.unwrap_or_default();
        let map = match config.get("added_tokens_decoder") {
            Some(Value::Object(_)) => Map::new(),
            _ => read_object(files, SPECIAL)?.unwrap_or_default(),
        };
        let class = config.get("tokenizer_class").and_then(Value::as_str).unwrap_or_default();
        let class = match class.strip_suffix("Fast").unwrap_or(class) {
            "CLIPTokenizer" => Class::Clip,
            "BertTokenizer" | "DistilBertTokenizer" => Class::Bert,
            _ => Class::Other,
        };
        let mut special = Vec::new();
        for key in TOKENS {
            let of = |object: &Map<String, Value>| object.get(key).filter(|value| !value.is_null()).cloned();
            let named = of(&map).or_else(|| of(&config));
            if let Some(token) = named.or_else(|| default_token(class, key).map(Value::from)) {
                special.push((key, added_token(&token, true).ok_or_else(|| refuse(key, &token))?));
            }
        }
        let added = match config.get("added_tokens_decoder") {
            Some(Value::Object(tokens)) => {
                let mut tokens: Vec<(u32, &Value)> = tokens
                    .iter()
                    .map(|(id, token)| Some((id.parse().ok()?, token)))
                    .collect::<Option<_>>()
                    .ok_or_else(|| {
                        Error::damaged(CONFIG, "`added_tokens_decoder` has a key that is no id")
                    })?;
                tokens.sort_by_key(|(id, _)| *id);
                let read = |(_, token)| {
                    added_token(token, false).ok_or_else(|| refuse("added_tokens_decoder", token))
                };
                tokens.into_iter().map(read).collect::<Result<_, _>>()?
            }
            _ => Vec::new(),
        };
        let flag = |key: &str| match config.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(Error::unsupported(CONFIG, key, other, "true or false")),
        };
        let left = |key: &str| config.get(key).and_then(Value::as_str) == Some("left");
        let longest = config.get("model_max_length").and_then(Value::as_f64);
        Ok(Self {
            class,
            lowercase: flag("do_lower_case")?.unwrap_or(true),
            strip_accents: flag("strip_accents")?,
            chinese: flag("tokenize_chinese_chars")?.unwrap_or(true),
            longest: longest.filter(|most| (1.0..UNBOUNDED).contains(most)).map(|most| most as usize),
            pads_left: left("padding_side"),
            truncates: if left("truncation_side") {
                TruncationDirection::Left
            } else {
                TruncationDirection::Right
            },
            special,
            added,
        })
    }

    /// The special token of this key.
    pub(super) fn token(&self, key: &str, class: Class) -> String {
        let content = |(_, token): &(_, Value)| token["content"].as_str().map(str::to_owned);
        let named = self.special.iter().find(|(known, _)| *known == key).and_then(content);
        named.or_else(|| default_token(class, key).map(str::to_owned)).unwrap_or_default()
    }

    /// What a text is filled up with.
    pub(super) fn pad_token(&self, description: &Value) -> String {
        let own = self.special.iter().any(|(key, _)| *key == "pad_token");
        match description["padding"]["pad_token"].as_str() {
            Some(token) if !own => token.to_owned(),
            _ if description["model"]["type"] == "BPE" => self.token("pad_token", Class::Clip),
            _ => self.token("pad_token", Class::Bert),
        }
    }

    /// All tokens that the vocabulary does not have to know, as `tokenizer.json` lists them.
    pub(super) fn added_tokens(&self) -> impl Iterator<Item = &Value> {
        self.added.iter().chain(self.special.iter().map(|(_, token)| token))
    }
}

fn refuse(key: &str, value: &Value) -> Error {
    Error::unsupported(CONFIG, key, value, "a token")
}

fn default_token(class: Class, key: &str) -> Option<&'static str> {
    let tokens: &[(&str, &str)] = match class {
        Class::Clip => &[
            ("bos_token", "<|startoftext|>"),
            ("eos_token", "<|endoftext|>"),
            ("unk_token", "<|endoftext|>"),
            ("pad_token", "<|endoftext|>"),
        ],
        Class::Bert => &[
            ("unk_token", "[UNK]"),
            ("sep_token", "[SEP]"),
            ("pad_token", "[PAD]"),
            ("cls_token", "[CLS]"),
            ("mask_token", "[MASK]"),
        ],
        Class::Other => &[],
    };
    tokens.iter().find(|(known, _)| *known == key).map(|(_, token)| *token)
}

/// A token, written as a text or with its flags, in the form of `tokenizer.json`; the id is found by its content.
fn added_token(token: &Value, special: bool) -> Option<Value> {
    let (content, flags) = match token {
        Value::String(content) => (content.as_str(), None),
        Value::Object(flags) => (flags.get("content")?.as_str()?, Some(flags)),
        _ => return None,
    };
    let flag = |key: &str| flags.and_then(|flags| flags.get(key)).and_then(Value::as_bool);
    let special = special || flag("special").unwrap_or(false);
    Some(json!({
        "id": 0,
        "content": content,
        "single_word": flag("single_word").unwrap_or(false),
        "lstrip": flag("lstrip").unwrap_or(false),
        "rstrip": flag("rstrip").unwrap_or(false),
        "normalized": flag("normalized").unwrap_or(!special),
        "special": special,
    }))
}

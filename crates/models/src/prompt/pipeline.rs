//! A tokenizer as the `tokenizers` library describes it: the source's `tokenizer.json`, or one made of its vocabulary.
//!
//! Only the parts that the tokenizers of CLIP and BERT are made of are let through: the library trusts its files.

use serde_json::{Map, Value, json};

use super::settings::{Class, Settings};
use crate::config::read_object;
use crate::{Error, Files};

const DESCRIPTION: &str = "tokenizer.json";
const VOCABULARY: &str = "vocab.json";
const MERGES: &str = "merges.txt";
const WORD_PIECES: &str = "vocab.txt";

/// Most bytes of a file: ten times those of the largest vocabulary in use.
const LARGEST_FILE: usize = 64 << 20;
/// Longest regular expression.
const LONGEST_PATTERN: usize = 4096;

/// How CLIP cuts a text into words.
const CLIP_WORDS: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// What a text may go through, by the key in `tokenizer.json`.
const PARTS: [(&str, &[&str]); 3] = [
    (
        "normalizer",
        &[
            "Sequence",
            "NFC",
            "NFD",
            "NFKC",
            "NFKD",
            "Replace",
            "Lowercase",
            "Strip",
            "StripAccents",
            "BertNormalizer",
        ],
    ),
    (
        "pre_tokenizer",
        &[
            "Sequence",
            "Split",
            "ByteLevel",
            "BertPreTokenizer",
            "Whitespace",
            "WhitespaceSplit",
            "Punctuation",
        ],
    ),
    (
        "post_processor",
        &["Sequence", "RobertaProcessing", "BertProcessing", "TemplateProcessing", "ByteLevel"],
    ),
];

/// A tokenizer as its library reads it.
pub(super) struct Description {
    /// The file that it comes from.
    pub(super) file: &'static str,
    pub(super) content: Value,
    /// The token that texts are filled up with.
    pub(super) pad: String,
}

/// Reads the description of a source's tokenizer, or makes it.
pub(super) fn description(files: &dyn Files, settings: &Settings) -> Result<Description, Error> {
    for file in [DESCRIPTION, VOCABULARY, MERGES, WORD_PIECES] {
        if let Some(bytes) = files.read_if_present(file)?
            && bytes.len() > LARGEST_FILE
        {
            let reason = format!("{} bytes, at most {LARGEST_FILE} are read", bytes.len());
            return Err(Error::damaged(file, reason));
        }
    }
    let (file, mut content) = if let Some(description) = read_object(files, DESCRIPTION)? {
        (DESCRIPTION, described(description, settings)?)
    } else if let Some(vocabulary) = read_object(files, VOCABULARY)? {
        (VOCABULARY, clip(&vocabulary, &text(files, MERGES)?, settings)?)
    } else if files.read_if_present(WORD_PIECES)?.is_some() {
        (WORD_PIECES, bert(&text(files, WORD_PIECES)?, settings))
    } else {
        return Err(Error::MissingFile { file: DESCRIPTION.into() });
    };
    complete(&mut content, settings);
    let pad = settings.pad_token(&content);
    // A text is cut and filled up here, not by the library.
    content["padding"] = Value::Null;
    Ok(Description { file, content, pad })
}

/// Adds the special tokens that are not among the added ones.
fn complete(content: &mut Value, settings: &Settings) {
    let Value::Array(known) = &mut content["added_tokens"] else { return };
    for token in settings.added_tokens() {
        if !known.iter().any(|other| other["content"] == token["content"]) {
            known.push(token.clone());
        }
    }
}

/// A description of the source's own, checked; `tokenizer_config.json` has the last word where the library gives it.
fn described(mut own: Map<String, Value>, settings: &Settings) -> Result<Value, Error> {
    let model = own.get("model").and_then(|model| model.get("type")).and_then(Value::as_str);
    if !matches!(model, Some("BPE" | "WordPiece")) {
        let model = model.unwrap_or("absent");
        return Err(Error::unsupported(
            DESCRIPTION,
            "model.type",
            format!("`{model}`"),
            "`BPE` or `WordPiece`",
        ));
    }
    if let Some(prefix) = own["model"].get("continuing_subword_prefix").and_then(Value::as_str)
        && own["model"]["type"] == "BPE"
        && !prefix.is_empty()
    {
        let field = "model.continuing_subword_prefix";
        return Err(Error::unsupported(DESCRIPTION, field, format!("`{prefix}`"), "none"));
    }
    for (key, known) in PARTS {
        if let Some(part) = own.get(key) {
            check(key, part, known)?;
        }
    }
    // Dropout is for training.
    own["model"]["dropout"] = Value::Null;
    own.insert("truncation".into(), Value::Null);
    own.insert("decoder".into(), Value::Null);
    if !own.get("added_tokens").is_some_and(Value::is_array) {
        own.insert("added_tokens".into(), json!([]));
    }
    if settings.class == Class::Bert
        && let Some(normalizer) = own.get_mut("normalizer").filter(|part| part["type"] == "BertNormalizer")
    {
        normalizer["lowercase"] = settings.lowercase.into();
        normalizer["strip_accents"] = settings.strip_accents.into();
        normalizer["handle_chinese_chars"] = settings.chinese.into();
    }
    Ok(Value::Object(own))
}

/// Refuses parts of other kinds, at any depth.
fn check(key: &str, part: &Value, known: &[&str]) -> Result<(), Error> {
    let Value::Object(object) = part else {
        return if part.is_null() {
            Ok(())
        } else {
            Err(Error::damaged(DESCRIPTION, format!("`{key}` is {part}")))
        };
    };
    let kind = object.get("type").and_then(Value::as_str).unwrap_or("absent");
    if !known.contains(&kind) {
        let known: Vec<String> = known.iter().map(|kind| format!("`{kind}`")).collect();
        return Err(Error::unsupported(
            DESCRIPTION,
            key,
            format!("`{kind}`"),
            format!("one of {}", known.join(", ")),
        ));
    }
    let pattern = object.get("pattern").and_then(|pattern| pattern.get("Regex")).and_then(Value::as_str);
    if pattern.is_some_and(|pattern| pattern.len() > LONGEST_PATTERN) {
        return Err(Error::damaged(
            DESCRIPTION,
            format!("`{key}` has a pattern of more than {LONGEST_PATTERN} bytes"),
        ));
    }
    if kind == "TemplateProcessing" && !template_fits(part) {
        return Err(Error::damaged(
            DESCRIPTION,
            format!("`{key}` has a template of tokens that it does not list"),
        ));
    }
    for list in ["normalizers", "pretokenizers", "processors"] {
        if let Some(Value::Array(parts)) = object.get(list) {
            parts.iter().try_for_each(|part| check(key, part, known))?;
        }
    }
    Ok(())
}

/// Whether the template for one text is made of that text and of special tokens that are listed: the library panics
/// at others.
fn template_fits(part: &Value) -> bool {
    let fits = |piece: &Value| match (piece["SpecialToken"]["id"].as_str(), piece["Sequence"]["id"].as_str())
    {
        (Some(token), None) => part["special_tokens"][token].is_object(),
        (None, text) => text == Some("A"),
        (Some(_), Some(_)) => false,
    };
    part["single"].as_array().is_some_and(|pieces| pieces.iter().all(fits))
}

/// What transformers makes of the byte-pair vocabulary of CLIP.
fn clip(vocabulary: &Map<String, Value>, merges: &str, settings: &Settings) -> Result<Value, Error> {
    let merges = merges.lines().filter(|line| !line.starts_with("#version") && !line.is_empty());
    let merges: Vec<Value> = merges.map(|line| line.trim_end().into()).collect();
    let [begin, end, unknown] =
        ["bos_token", "eos_token", "unk_token"].map(|key| settings.token(key, Class::Clip));
    let id = |token: &str| {
        let id = vocabulary.get(token).and_then(Value::as_u64);
        id.ok_or_else(|| Error::damaged(VOCABULARY, format!("it does not know `{token}`")))
    };
    let processor = json!({
        "type": "RobertaProcessing", "sep": [end, id(&end)?], "cls": [begin, id(&begin)?],
        "trim_offsets": false, "add_prefix_space": false,
    });
    Ok(json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFC"},
            {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
            {"type": "Lowercase"},
        ]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": CLIP_WORDS}, "behavior": "Removed", "invert": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        ]},
        "post_processor": processor,
        "model": {
            "type": "BPE", "unk_token": unknown, "continuing_subword_prefix": "", "end_of_word_suffix": "</w>",
            "fuse_unk": false, "vocab": vocabulary, "merges": merges,
        },
    }))
}

/// What transformers makes of the word pieces of BERT.
fn bert(vocabulary: &str, settings: &Settings) -> Value {
    let vocabulary: Map<String, Value> =
        vocabulary.lines().zip(0_u32..).map(|(token, id)| (token.trim_end().to_owned(), id.into())).collect();
    let [begin, end, unknown] =
        ["cls_token", "sep_token", "unk_token"].map(|key| settings.token(key, Class::Bert));
    let id = |token: &str, default: u32| vocabulary.get(token).cloned().unwrap_or_else(|| default.into());
    let special = |token: &str, default| json!({"id": token, "ids": [id(token, default)], "tokens": [token]});
    let mark = |token: &str| json!({"SpecialToken": {"id": token, "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let processor = json!({
        "type": "TemplateProcessing",
        "single": [mark(&begin), text, mark(&end)],
        "pair": [mark(&begin), text, mark(&end), {"Sequence": {"id": "B", "type_id": 1}}, mark(&end)],
        "special_tokens": {begin.as_str(): special(&begin, 2), end.as_str(): special(&end, 3)},
    });
    json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": settings.chinese,
            "strip_accents": settings.strip_accents, "lowercase": settings.lowercase,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": processor,
        "model": {
            "type": "WordPiece", "unk_token": unknown, "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary,
        },
    })
}

/// A file of text; lines may end as on any system.
fn text(files: &dyn Files, file: &str) -> Result<String, Error> {
    let bytes = files.read(file)?;
    let text = std::str::from_utf8(&bytes).map_err(|cause| Error::damaged(file, cause))?;
    Ok(text.replace("\r\n", "\n"))
}

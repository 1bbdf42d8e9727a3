//! The caption that the model is frozen with, its phrases, and which of its tokens see each other.
//!
//! A caption is made of the prompts as `GroundingDinoProcessor` makes it of a list: texts without a full stop are labels
//! and are joined (`a cat. a dog.`), a text with one is a caption and stays as it is. What stands between two full stops
//! or question marks is a phrase; each phrase is a class.

use detect::Labels;

use crate::config::bad_labels;
use crate::layers::Tokens;
use crate::prompt::Tokenizer;
use crate::{Error, Files, Prompt};

/// What separates phrases.
const SEPARATORS: [char; 2] = ['.', '?'];
/// `[CLS]`, `[SEP]`, `.` and `?` in the vocabulary of BERT; the original has them in its code, whatever the tokenizer.
const SPECIAL: [u32; 4] = [101, 102, 1012, 1029];

/// A caption in tokens.
#[derive(Debug)]
pub(super) struct Caption {
    pub(super) tokens: Tokens,
    /// The places of each phrase's tokens.
    pub(super) phrases: Vec<Vec<usize>>,
}

/// The phrases of a prompt as labels.
pub(super) fn labels(prompt: &Prompt) -> Result<Labels, Error> {
    let caption = caption(prompt)?;
    let phrases = pieces(&caption).filter_map(|piece| match piece {
        Piece::Phrase(text) if !text.trim().is_empty() => Some(named(text)),
        _ => None,
    });
    let phrases: Vec<String> = phrases.collect();
    if phrases.is_empty() {
        return Err(refuse(format!("`{caption}` names nothing to look for")));
    }
    Labels::new((0..).zip(phrases)).map_err(bad_labels)
}

/// The prompts as one text.
fn caption(prompt: &Prompt) -> Result<String, Error> {
    if prompt.task.is_some() {
        return Err(Error::Refused {
            option: "--task",
            reason: "is for models that take a task; this one takes a caption".into(),
        });
    }
    let is_label = |text: &String| !text.contains('.');
    if prompt.texts.iter().all(is_label) {
        let labels: Vec<String> = prompt.texts.iter().map(|text| text.trim().to_lowercase()).collect();
        return Ok(labels.join(". ") + ".");
    }
    match &prompt.texts[..] {
        [caption] => Ok(caption.clone()),
        _ => Err(refuse("is one caption with full stops, or several labels without".into())),
    }
}

/// The name of a phrase.
fn named(phrase: &str) -> String {
    phrase.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

enum Piece<'a> {
    Phrase(&'a str),
    Separator,
}

/// What lies between separators, perhaps nothing, and the separators.
fn pieces(caption: &str) -> impl Iterator<Item = Piece<'_>> {
    caption.split_inclusive(SEPARATORS).flat_map(|piece| match piece.strip_suffix(SEPARATORS) {
        Some(phrase) => vec![Piece::Phrase(phrase), Piece::Separator],
        None => vec![Piece::Phrase(piece)],
    })
}

impl Caption {
    /// Reads a prompt with the tokenizer of the source.
    pub(super) fn read(files: &dyn Files, prompt: &Prompt, most: usize) -> Result<Self, Error> {
        let text = caption(prompt)?;
        let tokenizer = Tokenizer::read(files)?;
        let ids = tokenizer.encode(&text, None)?;
        if ids.len() > most {
            return Err(refuse(format!("is {} tokens long, the model reads {most}", ids.len())));
        }
        let phrases = phrases(&tokenizer, &text, ids.len())?;
        let (sees, positions) = sentences(&ids);
        Ok(Self { tokens: Tokens { ids, positions, sees }, phrases })
    }
}

/// The places of each phrase's tokens, between one token that begins and one that ends the caption.
fn phrases(tokenizer: &Tokenizer, caption: &str, length: usize) -> Result<Vec<Vec<usize>>, Error> {
    let mut phrases = Vec::new();
    let mut place = 1;
    for piece in pieces(caption) {
        let Piece::Phrase(text) = piece else {
            place += 1;
            continue;
        };
        let count = tokenizer.encode(text, None)?.len().saturating_sub(2);
        let is_named = !text.trim().is_empty();
        if is_named && count == 0 {
            return Err(refuse(format!("has nothing in `{text}` that the model reads")));
        }
        if is_named {
            phrases.push((place..place + count).collect());
        }
        place += count;
    }
    if place + 1 == length {
        return Ok(phrases);
    }
    Err(refuse(format!("does not fall into phrases: `{caption}`")))
}

/// Which tokens see each other, row by row, and the place of each token in its phrase: a phrase sees itself and the
/// separator behind it. What no separator ends sees nothing but itself.
fn sentences(ids: &[u32]) -> (Vec<bool>, Vec<usize>) {
    let count = ids.len();
    let mut end = vec![None; count];
    let mut positions = vec![0; count];
    let mut start = 0;
    for (at, id) in ids.iter().enumerate() {
        if !SPECIAL.contains(id) {
            continue;
        }
        if at != 0 && at + 1 != count {
            for place in start..=at {
                end[place] = Some(at);
                positions[place] = place - start;
            }
        }
        start = at + 1;
    }
    let sees = (0..count * count).map(|pair| {
        let (from, to) = (pair / count, pair % count);
        from == to || (end[from].is_some() && end[from] == end[to])
    });
    (sees.collect(), positions)
}

fn refuse(reason: String) -> Error {
    Error::Refused { option: "--prompt", reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(texts: &[&str]) -> Prompt {
        Prompt { texts: texts.iter().map(|text| (*text).to_owned()).collect(), task: None }
    }

    #[test]
    fn labels_are_joined_and_captions_stay() {
        let cases: [(&[&str], Option<&str>); 5] = [
            (&["Person . car . truck ."], Some("Person . car . truck .")),
            (&[" A cat", "a Dog "], Some("a cat. a dog.")),
            (&["cat"], Some("cat.")),
            (&["is it a cat? ", "dog"], Some("is it a cat?. dog.")),
            (&["a cat.", "a dog."], None),
        ];
        for (texts, expected) in cases {
            assert_eq!(caption(&prompt(texts)).ok().as_deref(), expected, "{texts:?}");
        }
    }

    #[test]
    fn phrases_are_what_separators_enclose() {
        let cases = [
            ("Person . red  car . truck .", "person\nred car\ntruck\n"),
            ("a cat.a dog", "a cat\na dog\n"),
            ("..cat?? dog", "cat\ndog\n"),
        ];
        for (caption, expected) in cases {
            assert_eq!(labels(&prompt(&[caption])).unwrap().to_lines(), expected, "{caption}");
        }
        assert!(labels(&prompt(&[" . "])).is_err() && labels(&prompt(&["."])).is_err());
    }

    #[test]
    fn a_phrase_sees_itself_and_its_separator() {
        let (sees, positions) = sentences(&[101, 7, 8, 1012, 9, 1029, 5, 102]);
        assert_eq!(positions, [0, 0, 1, 2, 0, 1, 0, 0]);
        let seen = |from: usize| (0..8).filter(|to| sees[from * 8 + to]).collect::<Vec<_>>();
        assert_eq!(seen(1), [1, 2, 3]);
        assert_eq!((seen(3), seen(4)), (vec![1, 2, 3], vec![4, 5]));
        assert_eq!((seen(0), seen(6), seen(7)), (vec![0], vec![6], vec![7]), "no separator ends these");
        assert_eq!(sentences(&[101, 7, 102]).1, [0, 0, 0]);
    }
}

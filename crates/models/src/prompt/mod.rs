//! Texts as the numbers that a model was trained with: the checkpoint's own tokenizer.
//!
//! Byte-pair encoding of CLIP and `WordPiece` of BERT, read from `tokenizer.json`, else from the files of their
//! vocabularies. A text goes through the same steps as in transformers; the tests compare the numbers.

mod pipeline;
mod settings;

use detect::Labels;
use tokenizers::TruncationDirection;

use crate::{Error, Files};
use pipeline::Description;
use settings::Settings;

/// Longest text in bytes: no model reads as much, and more would only take time.
const LONGEST_TEXT: usize = 1 << 16;

/// Most texts of a prompt.
const MOST_TEXTS: usize = 4096;

/// Each text as a class, called as it is written.
pub(crate) fn labels_of(texts: &[String]) -> Result<Labels, Error> {
    let refuse = |reason| Error::Refused { option: "--prompt", reason };
    if texts.len() > MOST_TEXTS {
        return Err(refuse(format!("is given {} times, at most {MOST_TEXTS} classes are read", texts.len())));
    }
    Labels::new((0..).zip(texts.iter().cloned())).map_err(|error| match error {
        detect::Error::Labels { reason } => refuse(format!("makes no classes: {reason}")),
        other => Error::Detector(other),
    })
}

/// A tokenizer.
pub(crate) struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The file that it came from.
    file: &'static str,
    pad: u32,
    pads_left: bool,
    truncates: TruncationDirection,
    longest: Option<usize>,
}

/// A text of fixed length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Padded {
    pub(crate) ids: Vec<u32>,
    /// Whether a place holds a token of the text.
    pub(crate) real: Vec<bool>,
}

impl Tokenizer {
    /// Reads the tokenizer of a source.
    ///
    /// # Errors
    /// [`Error::MissingFile`] when there is none, [`Error::Damaged`] or [`Error::Unsupported`] when it cannot be used.
    pub(crate) fn read(files: &dyn Files) -> Result<Self, Error> {
        let settings = Settings::read(files)?;
        let Description { file, content, pad: name } = pipeline::description(files, &settings)?;
        let inner: tokenizers::Tokenizer =
            content.to_string().parse().map_err(|cause| Error::damaged(file, cause))?;
        let pad = inner
            .token_to_id(&name)
            .ok_or_else(|| Error::damaged(file, format!("it does not know the padding token `{name}`")))?;
        Ok(Self {
            inner,
            file,
            pad,
            pads_left: settings.pads_left,
            truncates: settings.truncates,
            longest: settings.longest,
        })
    }

    /// Most tokens of a text, where the source says so.
    pub(crate) fn longest(&self) -> Option<usize> {
        self.longest
    }

    /// Refuses a tokenizer that fills texts up in front: CLIP was trained with its padding behind.
    pub(crate) fn require_padding_behind(&self) -> Result<(), Error> {
        if self.pads_left {
            return Err(Error::unsupported(settings::CONFIG, "padding_side", "`left`", "`right`"));
        }
        Ok(())
    }

    /// The numbers of `text`, with the tokens that begin and end it; at most `most` (the ending tokens stay).
    pub(crate) fn encode(&self, text: &str, most: Option<usize>) -> Result<Vec<u32>, Error> {
        if text.len() > LONGEST_TEXT {
            let reason = format!("has a text of {} bytes, at most {LONGEST_TEXT} are read", text.len());
            return Err(Error::Refused { option: "--prompt", reason });
        }
        let damaged = |cause| Error::damaged(self.file, cause);
        let mut encoding = self.inner.encode_fast(text, false).map_err(damaged)?;
        if let Some(most) = most {
            let ends =
                self.inner.post_process(tokenizers::Encoding::default(), None, true).map_err(damaged)?;
            let room = most.saturating_sub(ends.len());
            if encoding.len() > room {
                encoding.truncate(room, 0, self.truncates);
            }
        }
        let encoding = self.inner.post_process(encoding, None, true).map_err(damaged)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The numbers of `text`, cut or filled up to `length`.
    pub(crate) fn encode_padded(&self, text: &str, length: usize) -> Result<Padded, Error> {
        let text = self.encode(text, Some(length))?;
        let missing = length.saturating_sub(text.len());
        let padding = std::iter::repeat_n((self.pad, false), missing);
        let text = text.into_iter().map(|id| (id, true));
        let (ids, real) =
            if self.pads_left { padding.chain(text).unzip() } else { text.chain(padding).unzip() };
        Ok(Padded { ids, real })
    }
}

#[cfg(test)]
mod tests;

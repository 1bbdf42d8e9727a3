//! One safetensors file: eight bytes of header length, a JSON header, the tensors.
//!
//! The official crate checks the header (no gap, no overlap, every byte covered); what is added here is one error that
//! names the file and, where a single tensor is to blame, the tensor.
//!
//! Format: <https://github.com/huggingface/safetensors#format>.

use ::safetensors::{SafeTensorError, SafeTensors, tensor::Metadata};
use bytes::Bytes;
use graph::Tensor;

use super::{Checkpoint, Stored, data_type};
use crate::Error;

/// Bytes of the length in front of the header.
const PREFIX: usize = 8;

/// Adds the tensors of a file to `checkpoint`.
pub(super) fn read(file: &str, bytes: &Bytes, checkpoint: &mut Checkpoint) -> Result<(), Error> {
    let (header, metadata) =
        SafeTensors::read_metadata(bytes).map_err(|error| Error::damaged(file, explain(&error, bytes)))?;
    let start = header + PREFIX;
    for name in metadata.offset_keys() {
        let stored = stored(&metadata, &name, start, bytes).map_err(|reason| Error::damaged(file, reason))?;
        if checkpoint.tensors.insert(name.clone(), stored).is_some() {
            return Err(Error::damaged(file, format!("`{name}` is already in another file")));
        }
    }
    if let Some(texts) = metadata.metadata() {
        checkpoint.metadata.extend(texts.iter().map(|(key, text)| (key.clone(), text.clone())));
    }
    checkpoint.files.push(file.to_owned());
    Ok(())
}

fn stored(metadata: &Metadata, name: &str, start: usize, bytes: &Bytes) -> Result<Stored, String> {
    let info = metadata.info(name).ok_or_else(|| format!("`{name}` is not in the header"))?;
    let dtype = format!("{:?}", info.dtype);
    let (from, to) = info.data_offsets;
    let range = start.checked_add(from).zip(start.checked_add(to));
    let (from, to) = range
        .filter(|(from, to)| from <= to && *to <= bytes.len())
        .ok_or_else(|| format!("`{name}` lies outside the file"))?;
    let data = bytes.slice(from..to);
    let tensor = data_type(&dtype)
        .map(|dtype| Tensor::new(dtype, info.shape.clone(), data.clone()))
        .transpose()
        .map_err(|error| format!("`{name}`: {error}"))?;
    Ok(Stored { dtype, shape: info.shape.clone(), bytes: data.len(), tensor })
}

/// What is wrong, in the words of someone who has only the file.
fn explain(error: &SafeTensorError, bytes: &[u8]) -> String {
    let length = bytes.first_chunk::<PREFIX>().map(|prefix| u64::from_le_bytes(*prefix));
    let size = bytes.len();
    match error {
        SafeTensorError::HeaderTooSmall => format!("{size} bytes are too few for a safetensors file"),
        SafeTensorError::HeaderTooLarge | SafeTensorError::InvalidHeaderLength => format!(
            "the header should take {} bytes, the file has {size}: it is cut short or no safetensors file",
            length.unwrap_or(0)
        ),
        SafeTensorError::InvalidHeader(_) => "the header is not text".into(),
        SafeTensorError::InvalidHeaderDeserialization(cause) | SafeTensorError::JsonError(cause) => {
            format!("the header is no list of tensors: {cause}")
        }
        SafeTensorError::MetadataIncompleteBuffer => format!(
            "the header describes tensors up to byte {}, the file ends at byte {size}",
            described_end(bytes).map_or_else(|| "?".into(), |end| end.to_string())
        ),
        SafeTensorError::InvalidOffset(name) => {
            format!("`{name}` does not begin where the tensor before it ends")
        }
        SafeTensorError::TensorInvalidInfo
        | SafeTensorError::ValidationOverflow
        | SafeTensorError::MisalignedSlice => match culprit(bytes) {
            Some(name) => format!("`{name}` takes another number of bytes than its type and shape ask for"),
            None => "a tensor takes another number of bytes than its type and shape ask for".into(),
        },
        other => format!("{other:?}"),
    }
}

fn header(bytes: &[u8]) -> Option<serde_json::Map<String, serde_json::Value>> {
    let length = usize::try_from(u64::from_le_bytes(*bytes.first_chunk::<PREFIX>()?)).ok()?;
    serde_json::from_slice(bytes.get(PREFIX..PREFIX.checked_add(length)?)?).ok()
}

/// The last byte that the header describes.
fn described_end(bytes: &[u8]) -> Option<u64> {
    let length = u64::from_le_bytes(*bytes.first_chunk::<PREFIX>()?);
    let ends = header(bytes)?;
    let last = ends.values().filter_map(|info| info.get("data_offsets")?.get(1)?.as_u64()).max()?;
    last.checked_add(length)?.checked_add(PREFIX as u64)
}

/// The first tensor whose offsets do not fit its type and shape.
fn culprit(bytes: &[u8]) -> Option<String> {
    let header = header(bytes)?;
    header.into_iter().filter(|(name, _)| name != "__metadata__").find_map(|(name, info)| {
        let offset = |at: usize| info.get("data_offsets")?.get(at)?.as_u64();
        let taken = offset(1)?.checked_sub(offset(0)?);
        let dtype: ::safetensors::Dtype = serde_json::from_value(info.get("dtype")?.clone()).ok()?;
        let mut bits = Some(dtype.bitsize() as u64);
        for size in info.get("shape")?.as_array()? {
            bits = bits.and_then(|bits| bits.checked_mul(size.as_u64()?));
        }
        let fits = bits.is_some_and(|bits| bits.is_multiple_of(8) && taken == Some(bits / 8));
        (!fits).then_some(name)
    })
}

//! The container of PyTorch since 1.6: a zip archive with the program and one entry a storage.
//!
//! PyTorch stores entries uncompressed, so a storage is a slice of the file. An archive that another program packed again
//! is read too: each entry is inflated once, within a limit. Check sums are compared only where an entry is inflated, as
//! PyTorch does not compare them either (and may write none): what was downloaded is checked by its hash, and to sum up
//! stored entries would read every weight.
//!
//! Format: `caffe2/serialize/inline_container.h` in PyTorch.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use bytes::Bytes;
use zip::{CompressionMethod, ZipArchive};

/// Largest program that is inflated; one that is stored is only a slice.
const LARGEST_PROGRAM: u64 = 256 << 20;
/// How many times its own size an archive may hold, and what a small one may hold in any case.
const MOST_GROWTH: u64 = 16;
const ALWAYS_ALLOWED: u64 = 16 << 20;
/// Beginning and size of an entry of the central directory.
const ENTRY: &[u8] = b"PK\x01\x02";
const ENTRY_SIZE: usize = 46;

/// An archive whose entries have been looked through.
pub(super) struct Archive {
    file: Bytes,
    entries: BTreeMap<String, Entry>,
    /// The folder that holds everything.
    stem: String,
    inflated: RefCell<Inflated>,
}

/// Where an entry lies.
struct Entry {
    index: usize,
    from: u64,
    /// Its bytes in the file, and what it holds.
    packed: u64,
    size: u64,
    stored: bool,
}

#[derive(Default)]
struct Inflated {
    entries: BTreeMap<String, Bytes>,
    bytes: u64,
}

impl Archive {
    /// Looks through the directory of an archive.
    pub(super) fn new(file: &Bytes) -> Result<Self, String> {
        let mut archive = ZipArchive::new(Cursor::new(file.clone())).map_err(|cause| cause.to_string())?;
        if listed(file, archive.central_directory_start()) != archive.len() {
            return Err("an entry of the archive is listed twice".into());
        }
        let mut entries = BTreeMap::new();
        for index in 0..archive.len() {
            let entry = archive.by_index_raw(index).map_err(|cause| cause.to_string())?;
            if entry.encrypted() {
                return Err(format!("`{}` is encrypted", entry.name()));
            }
            let from = entry.data_start().ok_or("an entry of the archive has no data")?;
            let (packed, size) = (entry.compressed_size(), entry.size());
            let stored = entry.compression() == CompressionMethod::Stored;
            let end = from.checked_add(packed).filter(|end| *end <= file.len() as u64);
            if end.is_none() || (stored && packed != size) {
                return Err(format!("`{}` lies outside the file", entry.name()));
            }
            entries.insert(entry.name().to_owned(), Entry { index, from, packed, size, stored });
        }
        disjoint(&entries)?;
        let stem = stem(&entries)?;
        Ok(Self { file: file.clone(), entries, stem, inflated: RefCell::default() })
    }

    /// The program.
    pub(super) fn program(&self) -> Result<Bytes, String> {
        if self.entry("byteorder").is_some() && self.read("byteorder", 16)?.trim_ascii() != b"little" {
            return Err("its tensors are not little-endian".into());
        }
        self.read("data.pkl", LARGEST_PROGRAM)
    }

    /// The bytes of a storage.
    pub(super) fn storage(&self, key: &str, bytes: u64) -> Result<Bytes, String> {
        let name = format!("data/{key}");
        let entry = self.entry(&name).ok_or_else(|| format!("storage `{key}` is not in the archive"))?;
        if entry.size != bytes {
            return Err(format!("storage `{key}` has {} bytes instead of {bytes}", entry.size));
        }
        self.read(&name, bytes)
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(&format!("{}{name}", self.stem))
    }

    /// The content of an entry: a slice, or inflated the first time.
    fn read(&self, name: &str, most: u64) -> Result<Bytes, String> {
        let entry = self.entry(name).ok_or_else(|| format!("the archive holds no `{name}`"))?;
        if entry.stored {
            return Ok(self.file.slice(entry.from as usize..(entry.from + entry.packed) as usize));
        }
        let mut inflated = self.inflated.borrow_mut();
        if let Some(bytes) = inflated.entries.get(name) {
            return Ok(bytes.clone());
        }
        let allowed = (self.file.len() as u64).saturating_mul(MOST_GROWTH).max(ALWAYS_ALLOWED);
        // The size that the archive states is not to be believed, but it has to be kept.
        let limit = most.min(allowed - inflated.bytes.min(allowed));
        if entry.size > limit {
            return Err(format!("`{name}` would be inflated to {} bytes, more than {limit}", entry.size));
        }
        let mut archive =
            ZipArchive::new(Cursor::new(self.file.clone())).map_err(|cause| cause.to_string())?;
        let reader = archive.by_index(entry.index).map_err(|cause| cause.to_string())?;
        let mut content = Vec::new();
        reader
            .take(entry.size + 1)
            .read_to_end(&mut content)
            .map_err(|cause| format!("`{name}` cannot be inflated: {cause}"))?;
        if content.len() as u64 != entry.size {
            return Err(format!("`{name}` does not have the {} bytes that the archive states", entry.size));
        }
        let content = Bytes::from(content);
        inflated.bytes += entry.size;
        inflated.entries.insert(name.to_owned(), content.clone());
        Ok(content)
    }
}

/// How many entries the central directory lists; the library keeps the last of the same name.
fn listed(file: &[u8], start: u64) -> usize {
    let mut rest = usize::try_from(start).ok().and_then(|start| file.get(start..)).unwrap_or_default();
    let mut count = 0;
    while let Some(entry) = rest.get(..ENTRY_SIZE).filter(|entry| entry.starts_with(ENTRY)) {
        let length = |at: usize| usize::from(u16::from_le_bytes([entry[at], entry[at + 1]]));
        let size = ENTRY_SIZE + length(28) + length(30) + length(32);
        rest = rest.get(size..).unwrap_or_default();
        count += 1;
    }
    count
}

/// Refuses entries that share bytes: an archive of honest origin has none, a zip bomb has.
fn disjoint(entries: &BTreeMap<String, Entry>) -> Result<(), String> {
    let mut ranges: Vec<(u64, u64, &String)> =
        entries.iter().map(|(name, entry)| (entry.from, entry.from + entry.packed, name)).collect();
    ranges.sort_unstable();
    match ranges.array_windows().find(|[(_, end, _), (from, ..)]| from < end) {
        Some([(.., first), (.., second)]) => Err(format!("`{first}` and `{second}` share bytes")),
        None => Ok(()),
    }
}

/// What stands before `data.pkl`: nothing, or one folder.
fn stem(entries: &BTreeMap<String, Entry>) -> Result<String, String> {
    let stems = entries.keys().filter_map(|name| name.strip_suffix("data.pkl"));
    let stems: Vec<&str> =
        stems.filter(|stem| stem.is_empty() || stem.find('/') == Some(stem.len() - 1)).collect();
    match stems[..] {
        [only] => Ok(only.to_owned()),
        [] => Err("the archive holds no `data.pkl`".into()),
        _ => Err("the archive holds several programs".into()),
    }
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Archive({} entries)", self.entries.len())
    }
}

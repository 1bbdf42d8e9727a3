//! Digests of a stream, computed in a thread of their own beside the one that reads the socket or the disk.
//!
//! Buffers go round: filled by the reader, hashed, and given back; the last one given back is filled first, because it
//! is still in a core's cache. Many may be under way: on a busy machine the hashing thread waits milliseconds for its
//! turn, and the reader must not wait with it.

use std::io::Read;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::choose::Digest;
use crate::error::{Error, Result};

/// Bytes a buffer: small enough to stay in a core's cache between the copy, the write and the hash.
pub(crate) const CHUNK: usize = 128 << 10;
/// Buffers under way at most, 8 MiB: what a socket delivers while a thread waits for its turn.
const BUFFERS: usize = 64;

/// What a content is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Digests {
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: String,
    /// git's blob hash, where the length was known in advance.
    pub git_blob: Option<String>,
    /// Bytes.
    pub len: u64,
}

impl Digests {
    /// `Ok`, or the promised and the found digest.
    pub(crate) fn check(&self, promised: Option<&Digest>, file: &str) -> Result<()> {
        let (kind, expected, found) = match promised {
            None => return Ok(()),
            Some(Digest::Sha256(expected)) => ("sha256", expected, Some(&self.sha256)),
            Some(Digest::GitBlob(expected)) => ("git blob", expected, self.git_blob.as_ref()),
        };
        if found == Some(expected) {
            return Ok(());
        }
        let found = found.map_or("nothing", String::as_str);
        Err(Error::WrongHash {
            file: file.to_owned(),
            expected: format!("{kind} {expected}"),
            found: format!("{kind} {found}"),
        })
    }
}

/// A hash in progress.
#[derive(Debug)]
pub(crate) struct Hashing {
    filled: SyncSender<(Vec<u8>, usize)>,
    empty: Arc<Mutex<Vec<Vec<u8>>>>,
    thread: JoinHandle<Digests>,
}

impl Hashing {
    /// Starts a hash; `git_len` is the whole length in bytes when git's blob hash is wanted too.
    pub(crate) fn start(git_len: Option<u64>) -> Self {
        let (filled, to_hash) = sync_channel::<(Vec<u8>, usize)>(BUFFERS);
        let empty = Arc::new(Mutex::new(Vec::new()));
        let give_back = Arc::clone(&empty);
        let thread = std::thread::spawn(move || {
            let mut sha256 = Sha256::new();
            let mut sha1 = git_len.map(|len| Sha1::new_with_prefix(format!("blob {len}\0")));
            let mut total = 0u64;
            for (buffer, len) in to_hash {
                sha256.update(&buffer[..len]);
                if let Some(sha1) = &mut sha1 {
                    sha1.update(&buffer[..len]);
                }
                total += len as u64;
                if buffer.len() == CHUNK {
                    give_back.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
                }
            }
            Digests {
                sha256: hex(&sha256.finalize()),
                git_blob: sha1.map(|sha1| hex(&sha1.finalize())),
                len: total,
            }
        });
        Self { filled, empty, thread }
    }

    /// A buffer of [`CHUNK`] bytes to fill.
    pub(crate) fn buffer(&self) -> Vec<u8> {
        let empty = self.empty.lock().unwrap_or_else(PoisonError::into_inner).pop();
        empty.unwrap_or_else(|| vec![0; CHUNK])
    }

    /// Hashes the first `len` bytes of the buffer; waits while too many are under way.
    pub(crate) fn push(&self, buffer: Vec<u8>, len: usize) {
        // The thread ends only when `self` is dropped, or by a panic that `finish` passes on.
        let _ = self.filled.send((buffer, len));
    }

    /// The digests of everything that was pushed.
    pub(crate) fn finish(self) -> Digests {
        drop(self.filled);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Hashes a stream to its end. `seen` is told the bytes so far.
    pub(crate) fn read(&self, from: &mut impl Read, mut seen: impl FnMut(u64)) -> std::io::Result<u64> {
        let mut total = 0;
        loop {
            let mut buffer = self.buffer();
            let (len, end) = fill(from, &mut buffer);
            self.push(buffer, len);
            total += len as u64;
            seen(total);
            if let Some(end) = end {
                return end.map(|()| total);
            }
        }
    }
}

/// Fills the buffer as far as the stream goes: the bytes read, and how the stream ended if it did.
pub(crate) fn fill(from: &mut impl Read, buffer: &mut [u8]) -> (usize, Option<std::io::Result<()>>) {
    let mut len = 0;
    while len < buffer.len() {
        match from.read(&mut buffer[len..]) {
            Ok(0) => return (len, Some(Ok(()))),
            Ok(n) => len += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return (len, Some(Err(e))),
        }
    }
    (len, None)
}

/// The digests of a file of this disk. `seen` is told the bytes so far.
pub(crate) fn hash_file(path: &Path, with_git_blob: bool, seen: impl FnMut(u64)) -> Result<Digests> {
    let mut file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    let git_len =
        if with_git_blob { Some(file.metadata().map_err(|e| Error::io(path, e))?.len()) } else { None };
    let hashing = Hashing::start(git_len);
    hashing.read(&mut file, seen).map_err(|e| Error::io(path, e))?;
    Ok(hashing.finish())
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_equal_those_of_sha256sum_and_git_hash_object() {
        let hashing = Hashing::start(Some(6));
        hashing.read(&mut b"hello\n".as_slice(), |_| ()).unwrap();
        let digests = hashing.finish();
        assert_eq!(digests.sha256, "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
        assert_eq!(digests.git_blob.as_deref(), Some("ce013625030ba8dba906f756967f9e9ca394464a"));
        assert_eq!(digests.len, 6);
        let promised = Digest::GitBlob("ce013625030ba8dba906f756967f9e9ca394464a".to_owned());
        assert!(digests.check(Some(&promised), "x").is_ok());
        assert!(digests.check(Some(&Digest::Sha256("0".repeat(64))), "x").is_err());
    }

    #[test]
    fn buffers_go_round_over_many_chunks() {
        let content: Vec<u8> = (0..CHUNK * 20 + 7).map(|i| (i % 251) as u8).collect();
        let hashing = Hashing::start(None);
        assert_eq!(hashing.read(&mut content.as_slice(), |_| ()).unwrap(), content.len() as u64);
        assert_eq!(hashing.finish().sha256, hex(&Sha256::digest(&content)));
    }
}

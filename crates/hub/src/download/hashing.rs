//! Digests of a stream, computed in a thread of their own beside the one that reads the socket or the disk.
//!
//! Buffers go round: filled by the reader, hashed, and given back to be filled again.

use std::io::Read;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::choose::Digest;
use crate::error::{Error, Result};

/// Bytes a buffer: small enough to stay in a core's cache between the copy, the write and the hash.
pub(crate) const CHUNK: usize = 128 << 10;
/// Buffers on their way; more would only leave the cache.
const BUFFERS: usize = 4;

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
    empty: Receiver<Vec<u8>>,
    made: usize,
    thread: JoinHandle<Digests>,
}

impl Hashing {
    /// Starts a hash; `git_len` is the whole length in bytes when git's blob hash is wanted too.
    pub(crate) fn start(git_len: Option<u64>) -> Self {
        let (filled, to_hash) = sync_channel::<(Vec<u8>, usize)>(BUFFERS);
        let (give_back, empty) = channel();
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
                    // Nobody takes buffers any more once the stream has ended.
                    let _ = give_back.send(buffer);
                }
            }
            Digests {
                sha256: hex(&sha256.finalize()),
                git_blob: sha1.map(|sha1| hex(&sha1.finalize())),
                len: total,
            }
        });
        Self { filled, empty, made: 0, thread }
    }

    /// A buffer of [`CHUNK`] bytes to fill.
    pub(crate) fn buffer(&mut self) -> Vec<u8> {
        if self.made < BUFFERS {
            if let Ok(buffer) = self.empty.try_recv() {
                return buffer;
            }
            self.made += 1;
            return vec![0; CHUNK];
        }
        self.empty.recv().unwrap_or_else(|_| vec![0; CHUNK])
    }

    /// Hashes the first `len` bytes of the buffer.
    pub(crate) fn push(&mut self, buffer: Vec<u8>, len: usize) {
        // The thread ends only when `self` is dropped, or by a panic that `finish` passes on.
        let _ = self.filled.send((buffer, len));
    }

    /// The digests of everything that was pushed.
    pub(crate) fn finish(self) -> Digests {
        drop(self.filled);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Hashes a stream to its end. `seen` is told the bytes so far.
    pub(crate) fn read(&mut self, from: &mut impl Read, mut seen: impl FnMut(u64)) -> std::io::Result<u64> {
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
    let mut hashing = Hashing::start(git_len);
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
        let mut hashing = Hashing::start(Some(6));
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
        let mut hashing = Hashing::start(None);
        assert_eq!(hashing.read(&mut content.as_slice(), |_| ()).unwrap(), content.len() as u64);
        assert_eq!(hashing.finish().sha256, hex(&Sha256::digest(&content)));
    }
}

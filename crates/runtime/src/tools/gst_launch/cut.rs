//! Whether a video was cut off. `GStreamer` plays what is left of one and tells nothing, so the containers' own lengths
//! are looked at.

use std::io::{Read, Result, Seek, SeekFrom};

/// More than the longest page of Ogg (65,307 bytes).
const TAIL: u64 = 1 << 17;
/// Most boxes of an MP4 file that are looked at.
const BOXES: usize = 1 << 16;

/// Whether an Ogg or MP4 file ends before its last page or box does. `false` for every other kind of file.
pub(super) fn is_cut(file: &mut (impl Read + Seek)) -> Result<bool> {
    let length = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    let mut start = Vec::new();
    file.by_ref().take(12).read_to_end(&mut start)?;
    let is_cut = if start.starts_with(b"OggS") {
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut tail = Vec::new();
        file.by_ref().take(TAIL).read_to_end(&mut tail)?;
        last_page_is_cut(&tail)
    } else if start.get(4..8) == Some(b"ftyp") {
        last_box_is_cut(file, length)?
    } else {
        false
    };
    file.rewind()?;
    Ok(is_cut)
}

/// A page is `OggS`, version 0, … the number of its segments at 26, their lengths, their bytes.
fn last_page_is_cut(tail: &[u8]) -> bool {
    let mut pages = tail.windows(5).enumerate().filter(|(_, bytes)| *bytes == b"OggS\0").map(|(at, _)| at);
    let Some(at) = pages.next_back() else { return true };
    let length = tail.get(at + 26).and_then(|count| {
        let lengths = tail.get(at + 27..at + 27 + usize::from(*count))?;
        Some(27 + lengths.len() + lengths.iter().map(|length| usize::from(*length)).sum::<usize>())
    });
    let Some(rest) = length.and_then(|length| tail.get(at + length..)) else { return true };
    // Of the next page only its first bytes may be left.
    !rest.is_empty() && b"OggS\0".starts_with(rest)
}

/// A box is its length and its name, 4 bytes each; length 1 is followed by 8 bytes of length, 0 reaches to the end.
fn last_box_is_cut(file: &mut (impl Read + Seek), length: u64) -> Result<bool> {
    let mut at = 0_u64;
    for _ in 0..BOXES {
        if at == length {
            break;
        }
        file.seek(SeekFrom::Start(at))?;
        let mut head = Vec::new();
        file.by_ref().take(16).read_to_end(&mut head)?;
        let Some((short, rest)) = head.split_first_chunk::<4>() else { return Ok(true) };
        let size = match u32::from_be_bytes(*short) {
            0 => break,
            1 => match rest.get(4..).and_then(|rest| rest.first_chunk::<8>()) {
                Some(long) => u64::from_be_bytes(*long),
                None => return Ok(true),
            },
            size => u64::from(size),
        };
        // A box is at least its head: a smaller one is damage of another kind, which the decoder tells.
        if size < 8 {
            break;
        }
        at = at.saturating_add(size);
        if at > length {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn cut(bytes: &[u8]) -> bool {
        is_cut(&mut Cursor::new(bytes)).unwrap()
    }

    #[test]
    fn every_shorter_ogg_and_mp4_file_is_cut_but_at_the_seams() {
        let page = |body: usize| {
            let mut page = b"OggS\0".to_vec();
            page.resize(26, 0);
            page.extend([2, 255, (body - 255) as u8]);
            page.resize(29 + body, 7);
            page
        };
        let ogg = [page(300), page(400)].concat();
        let seam = page(300).len();
        for length in 27..=ogg.len() {
            // A file that ends between two pages may be a recording that was stopped.
            assert_eq!(cut(&ogg[..length]), length != ogg.len() && length != seam, "{length}");
        }
        let mp4 = [
            &[0, 0, 0, 16],
            &b"ftypisom"[..],
            &[0; 4],
            &[0, 0, 0, 1],
            b"mdat",
            &[0, 0, 0, 0, 0, 0, 0, 26],
            &[9; 10],
        ]
        .concat();
        for length in 12..=mp4.len() {
            assert_eq!(cut(&mp4[..length]), length != mp4.len() && length != 16, "{length}");
        }
        for other in [&b""[..], b"hello world, hello", b"\x1aE\xdf\xa3 matroska"] {
            assert!(!cut(other));
        }
    }
}

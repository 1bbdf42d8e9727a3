//! Standard output while a library is at work.
//!
//! What this program prints there is its result, which other programs read; libraries that print on their own would spoil it.

use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

/// A process has one standard output.
static TURN: Mutex<()> = Mutex::new(());

/// Runs `work` while whatever is written to the process's standard output is kept away from it; gives that too. One call at a
/// time. Where there is no room for a temporary file, the text goes where it was going.
pub fn captured<T>(work: impl FnOnce() -> T) -> (T, String) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let Ok(aside) = Aside::begin() else { return (work(), String::new()) };
    let result = work();
    let text = aside.end();
    (result, text)
}

/// Standard output, put aside; put back when this goes.
struct Aside {
    own: OwnedFd,
    kept: std::fs::File,
}

impl Aside {
    fn begin() -> std::io::Result<Self> {
        let stdout = std::io::stdout();
        flush();
        let kept = tempfile::tempfile()?;
        let own = rustix::io::fcntl_dupfd_cloexec(&stdout, 0)?;
        rustix::stdio::dup2_stdout(&kept)?;
        Ok(Self { own, kept })
    }

    fn end(self) -> String {
        let mut bytes = Vec::new();
        let mut kept = self.kept.try_clone();
        // Put back first: whoever writes now does not write into what is read.
        drop(self);
        // What cannot be read back is lost: it was nobody's result.
        if let Ok(kept) = &mut kept {
            let _ = kept.rewind().and_then(|()| kept.read_to_end(&mut bytes));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        flush();
        let _ = rustix::stdio::dup2_stdout(&self.own);
    }
}

/// Writes out what this program and what C libraries have in their buffers for standard output.
#[expect(unsafe_code, reason = "C's buffers can be reached by C only")]
fn flush() {
    // What cannot be written now cannot be later.
    let _ = std::io::stdout().flush();
    // SAFETY: a null pointer asks for every stream of C, which takes a lock on each.
    unsafe {
        libc::fflush(std::ptr::null_mut());
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const CHILD: &str = "tools::stdout::tests::prints_as_c_does";

    /// In a process of its own: the harness writes to standard output beside the tests.
    #[test]
    fn what_c_prints_without_a_line_break_is_captured() {
        let mut child = Command::new(std::env::current_exe().unwrap());
        let ran =
            child.args(["--exact", CHILD, "--ignored", "--nocapture", "--test-threads=1"]).output().unwrap();
        let text = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && text.contains("1 passed"), "{text}");
        assert!(text.contains("after") && !text.contains("half a line"), "{text}");
    }

    #[test]
    #[ignore = "run by the test above"]
    #[expect(unsafe_code, reason = "what C prints is what is wanted")]
    fn prints_as_c_does() {
        // SAFETY: strings of C without anything to be formatted.
        let print = |text: &std::ffi::CStr| unsafe { libc::printf(text.as_ptr()) };
        let (written, text) = captured(|| print(c"half a line"));
        assert_eq!((written, text.as_str()), (11, "half a line"));
        assert_eq!(captured(|| 7), (7, String::new()));
        print(c"after");
    }
}

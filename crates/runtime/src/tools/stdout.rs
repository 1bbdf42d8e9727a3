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
        let mut stdout = std::io::stdout().lock();
        stdout.flush()?;
        let kept = tempfile::tempfile()?;
        let own = rustix::io::fcntl_dupfd_cloexec(&stdout, 0)?;
        rustix::stdio::dup2_stdout(&kept)?;
        Ok(Self { own, kept })
    }

    fn end(mut self) -> String {
        let mut bytes = Vec::new();
        // What cannot be read back is lost: it was nobody's result.
        let _ = self.kept.rewind().and_then(|()| self.kept.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let _ = std::io::stdout().flush();
        let _ = rustix::stdio::dup2_stdout(&self.own);
    }
}

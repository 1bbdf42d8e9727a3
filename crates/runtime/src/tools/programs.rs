//! Which programs this machine has, and what they say of themselves.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::child::{self, Heard};

/// Programs that only say their version: the slowest look through every plug-in at their first call.
const PATIENCE: Duration = Duration::from_mins(1);

/// Programs that ask another one, which may be far away or ill.
const SHORT_PATIENCE: Duration = Duration::from_secs(5);

/// The first program of this name on `path` (the value of `PATH`), else in one of `places`.
pub fn find(name: &str, path: Option<&OsStr>, places: &[&Path]) -> Option<PathBuf> {
    let on_path = path.into_iter().flat_map(std::env::split_paths);
    let folders = on_path.chain(places.iter().map(|place| place.to_path_buf()));
    folders.map(|folder| folder.join(name)).find(|program| is_program(program))
}

/// All lines that a program prints, on both of its outputs; `None` when it does not start, hangs or ends with another code
/// than 0.
pub fn lines(program: &Path, arguments: &[&str]) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    let mut command = Command::new(program);
    let ended = child::run(command.args(arguments), PATIENCE, None, &mut |heard| {
        if let Heard::Line(line) = heard {
            lines.push(line.to_owned());
        }
    });
    ended.ok().filter(child::Ended::is_success).map(|_| lines)
}

/// Whether a program ends well within a few seconds.
pub fn answers(program: &Path, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    let ended = child::run(command.args(arguments), SHORT_PATIENCE, None, &mut |_| {});
    ended.is_ok_and(|ended| ended.is_success())
}

/// Whether there is a file that may be run.
#[cfg(unix)]
pub(super) fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Whether there is a file.
#[cfg(not(unix))]
pub(super) fn is_program(path: &Path) -> bool {
    path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_and_speaks() {
        let shell = find("sh", Some(OsStr::new("/nowhere:/usr/bin:/bin")), &[]).unwrap();
        assert!(shell.ends_with("sh"));
        assert_eq!(find("sh", None, &[Path::new("/bin")]), Some(PathBuf::from("/bin/sh")));
        assert_eq!(find("no-such-program", Some(OsStr::new("/bin")), &[Path::new("/usr/bin")]), None);
        assert_eq!(lines(&shell, &["-c", "echo a; echo b >&2"]).map(|lines| lines.len()), Some(2));
        assert_eq!(lines(&shell, &["-c", "echo a; exit 3"]), None);
        assert_eq!(lines(Path::new("/nowhere/sh"), &[]), None);
    }
}

//! The documented outcomes as numbers. They are part of the interface: scripts rely on them.

use std::fmt::Write as _;
use std::process::ExitCode;

/// A check failed: outputs disagree, or accuracy is below its bound.
pub(crate) const CHECK_FAILED: u8 = 40;

/// A backend or an outside program is not on this machine.
pub(crate) const NOT_HERE: u8 = 30;

/// Every exit code with its meaning, for `--help`.
pub(crate) const TABLE: &[(u8, &str)] = &[
    (0, "done, all checks passed"),
    (1, "unexpected: a bug or the operating system"),
    (2, "wrong arguments"),
    (10, "source not found or not allowed"),
    (11, "nothing usable in the source"),
    (12, "not an object detector, or an architecture we do not have"),
    (13, "no label map"),
    (20, "export failed: missing or unused tensors, unsupported operator, or a named target cannot run it"),
    (NOT_HERE, "backend or tool not available here"),
    (CHECK_FAILED, "a check failed"),
    (130, "called off (Ctrl-C)"),
];

/// The exit code of a run that produced its result.
pub(crate) fn passed(passed: bool) -> ExitCode {
    if passed { ExitCode::SUCCESS } else { ExitCode::from(CHECK_FAILED) }
}

/// The table for `--help`.
pub(crate) fn help() -> String {
    let mut text = String::from("Exit codes:\n");
    for (code, meaning) in TABLE {
        let _ = writeln!(text, "  {code:<3} {meaning}");
    }
    text
}

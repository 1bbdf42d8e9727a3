//! Compares a rendered text with `tests/golden/`; `BLESS=1 cargo test` writes what was rendered.

use std::path::Path;

/// Fails when the text differs from the stored one.
#[expect(clippy::disallowed_methods, reason = "a test's own switch, not the program's")]
pub(crate) fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        return;
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    let first = stored.lines().zip(text.lines()).position(|(a, b)| a != b);
    assert!(
        stored == text,
        "`{name}` differs, first at line {first:?}; `BLESS=1 cargo test -p deploy` accepts it"
    );
}

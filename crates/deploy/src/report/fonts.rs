//! The fonts of charts and PDF: `DejaVu Sans`, whose licence stands beside them in `assets/`.
//!
//! The condensed cut answers to the family name `DejaVu Sans` with a stretch of 75 %.

/// Family for text.
pub(super) const SANS: &str = "DejaVu Sans";
/// Family for code.
pub(super) const MONO: &str = "DejaVu Sans Mono";

/// The font files.
pub(super) static ALL: [&[u8]; 3] = [
    include_bytes!("../../assets/DejaVuSansCondensed.ttf"),
    include_bytes!("../../assets/DejaVuSansCondensed-Bold.ttf"),
    include_bytes!("../../assets/DejaVuSansMono.ttf"),
];

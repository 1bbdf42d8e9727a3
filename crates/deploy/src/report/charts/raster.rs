//! SVG to PNG, with the fonts that this crate carries: the same picture on every machine.

use std::sync::{Arc, LazyLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use crate::Error;
use crate::report::fonts;

static FONTS: LazyLock<Arc<fontdb::Database>> = LazyLock::new(|| {
    let mut database = fontdb::Database::new();
    for font in fonts::ALL {
        database.load_font_data(font.to_vec());
    }
    database.set_sans_serif_family(fonts::SANS);
    database.set_monospace_family(fonts::MONO);
    Arc::new(database)
});

/// Draws an SVG text at its own size.
pub(super) fn png(file: &str, svg: &str) -> Result<Vec<u8>, Error> {
    let failed = |reason: String| Error::Chart { chart: file.to_owned(), reason };
    let options =
        Options { fontdb: Arc::clone(&FONTS), font_family: fonts::SANS.to_owned(), ..Options::default() };
    let tree = Tree::from_str(svg, &options).map_err(|error| failed(error.to_string()))?;
    let size = tree.size().to_int_size();
    let mut pixmap =
        Pixmap::new(size.width(), size.height()).ok_or_else(|| failed("its size is 0".into()))?;
    resvg::render(&tree, Transform::identity(), &mut pixmap.as_mut());
    pixmap.encode_png().map_err(|error| failed(error.to_string()))
}

//! Writes the report of an example package: `cargo run --release -p deploy --example report -- FOLDER [complete]`.
//!
//! With `complete` it has TensorRT and `DeepStream` figures too. They are made up: look at the form, not the numbers.

use std::path::Path;

use deploy::Content;

#[path = "../tests/it/data.rs"]
mod data;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("the folder to write to is missing")?;
    let data = if arguments.next().as_deref() == Some("complete") { data::complete() } else { data::plain() };
    let images = data::images(&data);
    let tree = deploy::report::render(&data, &images)?;
    for (path, bytes) in images.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).chain(
        tree.iter().filter_map(|(path, content)| match content {
            Content::Bytes(bytes) => Some((path, bytes.as_slice())),
            Content::SameAs(_) => None,
        }),
    ) {
        let path = Path::new(&folder).join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, bytes)?;
    }
    Ok(())
}

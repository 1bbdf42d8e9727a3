//! Comparisons with what the reference libraries made of the same input; each folder of fixtures lies beside the
//! script that made it.
#![expect(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "fixtures are whole, and bytes of 0–255 are exact"
)]

mod coco_map;
mod decode;
mod in_graph;
mod preprocess;

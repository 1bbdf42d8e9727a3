//! Comparisons with what the reference libraries made of the same input; each folder of fixtures lies beside the
//! script that made it.

mod coco_map;
mod decode;
mod preprocess;

//! NVIDIA's Jetson modules, whose driver has no program that tells of it.

use std::fs;
use std::path::Path;

/// What the system of a Jetson says of its release.
const RELEASE: &str = "/etc/nv_tegra_release";
/// Where the firmware says what board this is: also in a container, which does not have the release's file.
const DEVICE_TREE: &str = "/proc/device-tree/model";

/// The release or the name of the board, on a Jetson.
pub fn release() -> Option<String> {
    first_line(Path::new(RELEASE)).or_else(|| board(Path::new(DEVICE_TREE)))
}

fn first_line(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    Some(text.lines().next()?.trim().to_owned()).filter(|line| !line.is_empty())
}

/// `NVIDIA Jetson Orin Nano Developer Kit`, with a zero behind it.
fn board(model: &Path) -> Option<String> {
    let text = fs::read_to_string(model).ok()?;
    Some(text.trim_end_matches('\0').trim().to_owned()).filter(|board| board.contains("Jetson"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_says_whether_it_is_a_jetson() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model");
        fs::write(&model, "NVIDIA Jetson Orin Nano Developer Kit\0").unwrap();
        assert_eq!(board(&model).as_deref(), Some("NVIDIA Jetson Orin Nano Developer Kit"));
        fs::write(&model, "Raspberry Pi 5 Model B\0").unwrap();
        assert_eq!(board(&model), None);
        assert_eq!(board(&folder.path().join("none")), None);
        fs::write(&model, "# R36 (release), REVISION: 4.3\nmore\n").unwrap();
        assert_eq!(first_line(&model).as_deref(), Some("# R36 (release), REVISION: 4.3"));
    }
}

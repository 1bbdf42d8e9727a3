//! `.etlt`: TAO's encrypted export, which only NVIDIA's binaries read.
//!
//! The way out is a version with a plain ONNX, or `tao-converter` on the target machine. Its command line is built
//! from what the archive says; a value that is not known stands as `<NAME>`, never as a guess.

/// The `tao-converter` command line for `file`, from the keys of its `nvinfer_config.txt`.
///
/// Arguments as TAO documents them: `-k` key, `-d` input C,H,W, `-o` outputs, `-p` an optimization profile,
/// `-t` precision, `-c` calibration cache, `-e` engine to write.
pub fn tao_converter_command(file: &str, facts: &[(String, String)]) -> String {
    let fact = |key: &str| facts.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str());
    let list = |value: &str| {
        value.split([';', ',']).map(str::trim).filter(|s| !s.is_empty()).collect::<Vec<_>>().join(",")
    };
    let stem = file.strip_suffix(".etlt").unwrap_or(file);
    let mut words = vec!["tao-converter".to_owned()];
    words.push(format!("-k {}", fact("tlt-model-key").map_or("<KEY>".to_owned(), quoted)));
    words.push(format!(
        "-d {}",
        fact("infer-dims").or(fact("input-dims")).map_or("<C,H,W>".to_owned(), |v| quoted(&list(v)))
    ));
    if let Some(outputs) = fact("output-blob-names") {
        words.push(format!("-o {}", quoted(&list(outputs))));
    }
    if let Some(cache) = fact("int8-calib-file") {
        words.push(format!("-t int8 -c {}", quoted(cache)));
    } else {
        words.push("-t fp16".to_owned());
    }
    words.push(format!("-e {}", quoted(&format!("{stem}.engine"))));
    words.push(quoted(file));
    words.join(" ")
}

/// The pairs of an `nvinfer_config.txt`: `key=value` lines, with or without a `[property]` header.
pub(crate) fn nvinfer_pairs(text: &str) -> Vec<(String, String)> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with(['#', '[', ';']))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

/// A word that a shell takes as one; foreign text never becomes a second command.
fn quoted(word: &str) -> String {
    let plain =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/' | b',' | b':' | b'=');
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.chars().filter(|c| !c.is_control()).collect::<String>().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_holds_what_is_known_and_marks_what_is_not() {
        let text = "net-scale-factor=0.0039\noffsets=0;0;0\n\ntlt-model-key=tlt_encode\ninfer-dims=3;544;960\n\
                    output-blob-names=output_bbox/BiasAdd;output_cov/Sigmoid\nint8-calib-file=cal.txt\n";
        assert_eq!(
            tao_converter_command("resnet34.etlt", &nvinfer_pairs(text)),
            "tao-converter -k tlt_encode -d 3,544,960 -o output_bbox/BiasAdd,output_cov/Sigmoid -t int8 -c cal.txt \
             -e resnet34.engine resnet34.etlt"
        );
        assert_eq!(
            tao_converter_command("a.etlt", &[]),
            "tao-converter -k <KEY> -d <C,H,W> -t fp16 -e a.engine a.etlt"
        );
    }

    #[test]
    fn foreign_text_cannot_add_a_command() {
        let facts = [("tlt-model-key".to_owned(), "x; rm -rf '$HOME'".to_owned())];
        let command = tao_converter_command("a b.etlt", &facts);
        assert!(command.contains(r"-k 'x; rm -rf '\''$HOME'\'''"), "{command}");
        assert!(command.ends_with("'a b.etlt'"), "{command}");
    }
}

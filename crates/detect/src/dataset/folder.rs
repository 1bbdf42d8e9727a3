//! A plain folder of images, without annotations.
//!
//! Numbers in names are compared as numbers, so `frame_10` comes after `frame_9`: the order is what people expect of
//! a sequence.

/// The names that are images (`.jpg`, `.jpeg`, `.png`, in any case), in natural order. Hidden files are left out.
pub fn image_names<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Vec<String> {
    let mut images: Vec<String> =
        names.into_iter().map(|name| name.as_ref().to_owned()).filter(|name| is_image(name)).collect();
    images.sort_by(|a, b| parts(a).cmp(&parts(b)).then_with(|| a.cmp(b)));
    images
}

fn is_image(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    let Some((stem, extension)) = file.rsplit_once('.') else {
        return false;
    };
    !file.starts_with('.')
        && !stem.is_empty()
        && ["jpg", "jpeg", "png"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// A name as a sequence of text and numbers.
fn parts(name: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let digit = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != digit).unwrap_or(rest.len());
        let (part, tail) = rest.split_at(end);
        parts.push(if digit {
            let digits = part.trim_start_matches('0');
            Part::Number(digits.len(), digits)
        } else {
            Part::Text(part)
        });
        rest = tail;
    }
    parts
}

/// Numbers of any length: compared by their count of digits, then digit by digit.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Part<'a> {
    Number(usize, &'a str),
    Text(&'a str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_come_in_natural_order() {
        let names = [
            "b.png",
            "img10.jpg",
            "img9.JPG",
            "notes.txt",
            ".hidden.jpg",
            "a/.jpg",
            "img009.jpeg",
            "x",
            "a/2.png",
        ];
        assert_eq!(image_names(names), ["a/2.png", "b.png", "img9.JPG", "img009.jpeg", "img10.jpg"]);
        let long = ["9".repeat(40) + ".png", "1".repeat(41) + ".png"];
        assert_eq!(image_names(&long), long);
    }
}

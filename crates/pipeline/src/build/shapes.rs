//! Which shapes the inputs of an engine may have.

use detect::Detector;
use graph::{Dim, Model, ValueInfo};
use runtime::tools::Profile;

use super::{Batches, Building};
use crate::Error;

/// The inputs of a graph as an engine takes them.
#[derive(Debug)]
pub(super) struct Shapes {
    /// Inputs whose shape is not fixed, at the batches asked for. Empty for a graph that is fixed throughout.
    inputs: Vec<Input>,
    /// The batch of the image input, where it is a number.
    pub(super) fixed_batch: Option<u32>,
}

#[derive(Debug)]
struct Input {
    name: String,
    /// The sizes behind the batch.
    rest: Vec<usize>,
}

impl Shapes {
    /// Reads the graph's inputs. Height and width of the image are the detector's.
    ///
    /// # Errors
    /// [`Error::Options`] for an input with a size that nobody can know, and for an image of a
    /// size that the graph does not take.
    pub(super) fn of(model: &Model, detector: &Detector) -> Result<Self, Error> {
        let image = &detector.input;
        let (width, height) = (image.width, image.height);
        let (mut inputs, mut fixed_batch) = (Vec::new(), None);
        for info in &model.graph.inputs {
            let shape = info.shape.as_deref().ok_or_else(|| open(info))?;
            let is_image = info.name == image.tensor;
            if is_image && shape.len() == 4 {
                let wanted = [height as usize, width as usize];
                let fits = shape[2..]
                    .iter()
                    .zip(wanted)
                    .all(|(dim, wanted)| dim.fixed().is_none_or(|own| own == wanted));
                if !fits {
                    let reason =
                        format!("`{}` takes images of another size than {width}x{height}", info.name);
                    return Err(Error::Options(reason));
                }
            }
            let Some((batch, rest)) = shape.split_first() else { continue };
            if let Some(batch) = batch.fixed().filter(|_| is_image) {
                fixed_batch = Some(u32::try_from(batch).unwrap_or(u32::MAX));
            }
            if info.fixed_shape().is_some() {
                continue;
            }
            let known = |(at, dim): (usize, &Dim)| match (dim.fixed(), is_image && rest.len() == 3, at) {
                (Some(size), ..) => Ok(size),
                (None, true, 0) => Ok(3),
                (None, true, 1) => Ok(height as usize),
                (None, true, 2) => Ok(width as usize),
                _ => Err(open(info)),
            };
            let rest = rest.iter().enumerate().map(known).collect::<Result<_, _>>()?;
            inputs.push(Input { name: info.name.clone(), rest });
        }
        Ok(Self { inputs, fixed_batch })
    }

    /// Whether the batches that were asked for can be had.
    ///
    /// # Errors
    /// [`Error::Options`] when the graph in the file `name` takes one batch only, and it is another one.
    pub(super) fn take(&self, options: &Building, name: &str) -> Result<(), Error> {
        let asked = options.batches.filter(|_| options.static_batch.is_none());
        match (self.fixed_batch, asked) {
            (Some(fixed), Some(batches)) if batches != Batches::only(fixed) => {
                let reason = format!(
                    "`{name}` takes {fixed} images at a time: make its batch open before (`sightline optimize --batch dynamic`)"
                );
                Err(Error::Options(reason))
            }
            _ => Ok(()),
        }
    }

    /// What the builder is told.
    pub(super) fn profiles(&self, batches: Batches) -> Vec<Profile> {
        let profile = |input: &Input| Profile {
            tensor: input.name.clone(),
            min: self.shape(input, batches.min),
            opt: self.shape(input, batches.opt),
            max: self.shape(input, batches.max),
        };
        self.inputs.iter().map(profile).collect()
    }

    /// The shapes at one batch.
    pub(super) fn at(&self, batch: u32) -> Vec<(String, Vec<usize>)> {
        self.inputs.iter().map(|input| (input.name.clone(), self.shape(input, batch))).collect()
    }

    fn shape(&self, input: &Input, batch: u32) -> Vec<usize> {
        let batch = self.fixed_batch.unwrap_or(batch) as usize;
        std::iter::once(batch).chain(input.rest.iter().copied()).collect()
    }
}

fn open(info: &ValueInfo) -> Error {
    let shape = info.shape.as_ref().map_or_else(String::new, |shape| {
        let sizes: Vec<String> = shape.iter().map(ToString::to_string).collect();
        format!(" [{}]", sizes.join(", "))
    });
    let reason = format!(
        "input `{}`{shape} has a size that only the batch and the image cannot fix: set it with \
         `sightline optimize` before",
        info.name
    );
    Error::Options(reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use graph::{Builder, DataType};

    fn model(inputs: &[(&str, Vec<Dim>)]) -> Model {
        let mut b = Builder::new("g", 17);
        for (name, shape) in inputs {
            let x = b.input(name, DataType::F32, shape.clone());
            let y = b.sigmoid(&x);
            b.output(&format!("{name}.out"), &y);
        }
        b.finish("test", "1").unwrap()
    }

    fn detector() -> Detector {
        let json = r#"{"schema":1,"architecture":"x","labels":{"0":"a"},"input":{"tensor":"images","width":96,"height":64,
            "channels":"rgb","resize":{"policy":"stretch"},"filter":"bilinear","antialias":true,"scale":0.0039,
            "mean":[0.0,0.0,0.0],"std":[1.0,1.0,1.0],"dtype":"float32"},
            "head":{"kind":"end_to_end","output":"output0","format":"xyxy_pixels"}}"#;
        Detector::from_json(json).unwrap()
    }

    fn sized(width: u32, height: u32) -> Detector {
        let mut detector = detector();
        (detector.input.width, detector.input.height) = (width, height);
        detector
    }

    fn symbol(name: &str) -> Dim {
        Dim::Symbol(name.into())
    }

    #[test]
    fn the_batch_varies_and_the_image_does_not() {
        let images = vec![Dim::batch(), 3.into(), symbol("h"), symbol("w")];
        let graph = model(&[("images", images), ("sizes", vec![Dim::batch(), 2.into()])]);
        let shapes = Shapes::of(&graph, &detector()).unwrap();
        let profiles = shapes.profiles(Batches { min: 1, opt: 4, max: 8 });
        assert_eq!(
            (profiles[0].min.as_slice(), profiles[0].max.as_slice()),
            (&[1, 3, 64, 96][..], &[8, 3, 64, 96][..])
        );
        assert_eq!(profiles[1].opt, [4, 2]);
        assert_eq!(shapes.at(2)[1], ("sizes".to_owned(), vec![2, 2]));
        assert_eq!(shapes.fixed_batch, None);
        let larger = Shapes::of(&graph, &sized(192, 128)).unwrap();
        assert_eq!(larger.at(1)[0].1, [1, 3, 128, 192]);
    }

    #[test]
    fn a_fixed_graph_has_no_profile_and_other_sizes_are_refused() {
        let fixed = model(&[("images", vec![1.into(), 3.into(), 64.into(), 96.into()])]);
        let shapes = Shapes::of(&fixed, &detector()).unwrap();
        assert!(shapes.profiles(Batches::up_to(4)).is_empty());
        assert_eq!(shapes.fixed_batch, Some(1));
        assert!(matches!(Shapes::of(&fixed, &sized(64, 64)), Err(Error::Options(_))));
        let foreign = model(&[
            ("images", vec![Dim::batch(), 3.into(), 64.into(), 96.into()]),
            ("text", vec![Dim::batch(), symbol("words")]),
        ]);
        let error = Shapes::of(&foreign, &detector()).unwrap_err().to_string();
        assert!(error.contains("`text` [batch, words]"), "{error}");
    }
}

//! What pictures go through before a model sees them, in the words of Hugging Face's image processors.

use super::{CONFIG, ClassifierError, PREPROCESSOR};
use crate::text::{TextModelError, optional, setting};
use refit_core::{ConfigError, wrong_value};
use refit_io::data::{Filter, Normalise, PictureFit, Resize};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Where newer folders say what pictures and texts go through.
const BOTH: &str = "processor_config.json";
/// Share of a picture that the processor of `ConvNeXt` keeps where nothing else is said.
const CONVNEXT_SHARE: f64 = 224.0 / 256.0;
/// Sides from which on that processor keeps the whole picture.
const CONVNEXT_WHOLE: usize = 384;

/// What pictures go through before a model sees them.
#[derive(Clone, Debug, Default)]
pub struct Preprocessing {
    /// How pictures become squares, where the folder says so.
    pub fit: Option<PictureFit>,
    /// What happens to colours, where the folder says so.
    pub normalise: Option<Normalise>,
}

impl Preprocessing {
    /// Reads `preprocessor_config.json` of a folder, or what `processor_config.json` says of pictures; `family` and `side`
    /// are those of the model, whose own processor is meant where the file names none.
    ///
    /// # Errors
    /// A file that is no JSON object, or settings that ask for what is not done here.
    pub fn read(folder: &Path, family: &str, side: Option<usize>) -> Result<Self, ClassifierError> {
        let Some((file, keys)) = keys(folder)? else {
            return Ok(Self::default());
        };
        let processor = Processor::new(&keys, family);
        let read = || {
            Ok(Self {
                fit: processor.fit(side)?,
                normalise: processor.normalise()?,
            })
        };
        Ok(read().map_err(setting(&file))?)
    }

    /// Refuses pictures of another side than the model was made for.
    pub(crate) fn check_side(&self, folder: &Path, side: usize) -> Result<(), ClassifierError> {
        match self.fit {
            Some(fit) if fit.crop != side => {
                let expected = format!("{side}, the `image_size` of {CONFIG}");
                let error = ConfigError::range("crop_size", fit.crop, expected);
                Err(setting(&folder.join(PREPROCESSOR))(error).into())
            }
            _ => Ok(()),
        }
    }
}

/// A file and its keys.
type File = (PathBuf, Map<String, Value>);

/// The keys of the file that speaks of pictures.
fn keys(folder: &Path) -> Result<Option<File>, ClassifierError> {
    let (own, both) = (folder.join(PREPROCESSOR), folder.join(BOTH));
    let (file, value) = match (optional(&own)?, optional(&both)?) {
        (Some(value), _) => (own, value),
        (None, Some(Value::Object(mut keys))) => match keys.remove("image_processor") {
            Some(value) => (both, value),
            None => return Ok(None),
        },
        (None, Some(value)) => (both, value),
        (None, None) => return Ok(None),
    };
    match value {
        Value::Object(keys) => Ok(Some((file, keys))),
        _ => {
            let problem = "another value stands there than an object".into();
            Err(TextModelError::NotJson {
                path: file,
                problem,
            }
            .into())
        }
    }
}

/// Processors, which differ in what they do where nothing is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Vit,
    Bit,
    ConvNext,
    Clip,
    Other,
}

impl Kind {
    /// The processor that a file names: `ViTImageProcessor`, `ViTFeatureExtractor`.
    fn named(name: &str) -> Self {
        let names = [
            ("ViT", Self::Vit),
            ("Bit", Self::Bit),
            ("ConvNext", Self::ConvNext),
            ("CLIP", Self::Clip),
        ];
        let found = names.iter().find(|(start, _)| name.starts_with(start));
        found.map_or(Self::Other, |(_, kind)| *kind)
    }

    /// The processor of a family of models.
    fn of(family: &str) -> Self {
        match family {
            "vit" => Self::Vit,
            "dinov2" => Self::Bit,
            "resnet" => Self::ConvNext,
            "clip" => Self::Clip,
            _ => Self::Other,
        }
    }

    /// How pixels are made from others.
    const fn filter(self) -> Filter {
        match self {
            Self::Vit | Self::Other => Filter::Triangle,
            Self::Bit | Self::ConvNext | Self::Clip => Filter::Cubic,
        }
    }

    /// Side of the square that is cut from the middle.
    const fn crop(self) -> Option<usize> {
        match self {
            Self::Bit | Self::Clip => Some(224),
            Self::Vit | Self::ConvNext | Self::Other => None,
        }
    }

    /// Mean and deviation of colours.
    fn colours(self) -> Option<Normalise> {
        match self {
            Self::Vit | Self::ConvNext => Normalise::new(vec![0.5; 3], vec![0.5; 3]).ok(),
            Self::Bit | Self::Clip => Some(Normalise::clip()),
            Self::Other => None,
        }
    }
}

/// The settings of an image processor.
#[derive(Clone, Copy)]
struct Processor<'a> {
    keys: &'a Map<String, Value>,
    kind: Kind,
}

impl<'a> Processor<'a> {
    fn new(keys: &'a Map<String, Value>, family: &str) -> Self {
        let names = ["image_processor_type", "feature_extractor_type"];
        let name = names.iter().find_map(|key| keys.get(*key)?.as_str());
        let kind = name.map_or_else(|| Kind::of(family), Kind::named);
        Self { keys, kind }
    }

    /// A value that is neither missing nor null.
    fn find<T: DeserializeOwned>(self, key: &'static str) -> Result<Option<T>, ConfigError> {
        match self.keys.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value)
                .map(Some)
                .map_err(|error| wrong_value(key, value, &error)),
        }
    }

    /// How pictures become squares; `None` where nothing is said about it.
    fn fit(self, side: Option<usize>) -> Result<Option<PictureFit>, ConfigError> {
        let size = self.resize("size")?;
        let crops = self.find::<bool>("do_center_crop")?;
        let crop = match crops {
            Some(false) => None,
            _ => self.resize("crop_size")?.map(edge),
        };
        let resizes = self.find::<bool>("do_resize")?.unwrap_or(true);
        let share: Option<f64> = self.find("crop_pct")?;
        let Some(plain) = size.map(edge).or(crop).or(side) else {
            return Ok(None);
        };
        if size.is_none() && crop.is_none() && resizes && share.is_none() {
            return Ok(None);
        }
        let filter = self.filter()?;
        let fit = if !resizes {
            PictureFit {
                resize: Resize::No,
                filter,
                crop: crop.or(side).unwrap_or(plain),
            }
        } else if self.kind == Kind::ConvNext {
            convnext(plain, share.unwrap_or(CONVNEXT_SHARE), filter)?
        } else if let Some(share) = share {
            let expected = "nothing, but for a `ConvNextImageProcessor`";
            return Err(ConfigError::range("crop_pct", share, expected));
        } else {
            let resize = size.unwrap_or(Resize::Square(plain));
            let usual = self.kind.crop().filter(|_| crops != Some(false));
            let usual = usual.filter(|crop| *crop <= plain);
            let whole = match resize {
                Resize::Square(side) => side,
                _ if crops == Some(false) => {
                    let expected = "`true`, or a `height` and `width` of pictures in `size`";
                    return Err(ConfigError::range("do_center_crop", false, expected));
                }
                _ => side.unwrap_or(plain).min(plain),
            };
            PictureFit {
                resize,
                filter,
                crop: crop.or(usual).unwrap_or(whole),
            }
        };
        fit.check()?;
        Ok(Some(fit))
    }

    /// A size: a number, a shorter side, or height and width.
    fn resize(self, key: &'static str) -> Result<Option<Resize>, ConfigError> {
        let Some(value) = self.keys.get(key).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        let number = |value: &Value| value.as_u64().map(|n| n as usize);
        let part = |name: &str| value.get(name).and_then(number);
        let found = match (number(value), part("shortest_edge"), part("height")) {
            // A lone number was both sides to the first processor of ViT, and the shorter one to all others.
            (Some(side), ..) if key == "crop_size" || self.kind == Kind::Vit => {
                Resize::Square(side)
            }
            (Some(edge), ..) | (None, Some(edge), _) => Resize::Shorter(edge),
            (None, None, Some(side)) if part("width") == Some(side) => Resize::Square(side),
            _ => {
                let expected =
                    "a number of pixels, a `shortest_edge`, or a `height` and the same `width`";
                return Err(ConfigError::range(key, value, expected));
            }
        };
        Ok(Some(found))
    }

    /// How pixels are made from others, by Pillow's numbers.
    fn filter(self) -> Result<Filter, ConfigError> {
        let Some(number) = self.find::<u64>("resample")? else {
            return Ok(self.kind.filter());
        };
        match number {
            2 => Ok(Filter::Triangle),
            3 => Ok(Filter::Cubic),
            4 => Ok(Filter::Box),
            other => {
                let expected = "2 (bilinear), 3 (bicubic) or 4 (box)";
                Err(ConfigError::range("resample", other, expected))
            }
        }
    }

    /// What happens to colours; `None` where nothing is said about it.
    fn normalise(self) -> Result<Option<Normalise>, ConfigError> {
        let factor = self.find::<f64>("rescale_factor")?;
        let factor = factor.unwrap_or(1.0 / 255.0);
        if (factor * 255.0 - 1.0).abs() > 1e-3 {
            return Err(ConfigError::range("rescale_factor", factor, "1/255"));
        }
        if self.find::<bool>("do_rescale")? == Some(false) {
            return Err(ConfigError::range("do_rescale", false, "`true`"));
        }
        let mean: Option<Vec<f32>> = self.find("image_mean")?;
        let deviation: Option<Vec<f32>> = self.find("image_std")?;
        if self.find::<bool>("do_normalize")? == Some(false) {
            let channels = mean.map_or(3, |mean| mean.len());
            return Normalise::new(vec![0.0; channels], vec![1.0; channels]).map(Some);
        }
        match (mean, deviation) {
            (None, None) => Ok(self.kind.colours()),
            (Some(mean), Some(deviation)) => Normalise::new(mean, deviation).map(Some),
            (mean, _) => {
                let missing = if mean.is_none() {
                    "image_mean"
                } else {
                    "image_std"
                };
                Err(ConfigError::range(
                    missing,
                    "missing",
                    "a number for each colour",
                ))
            }
        }
    }
}

const fn edge(resize: Resize) -> usize {
    match resize {
        Resize::Shorter(edge) | Resize::Square(edge) => edge,
        Resize::No => 0,
    }
}

/// Small pictures are cut from larger ones, of which they are `share`; large ones are whole.
fn convnext(side: usize, share: f64, filter: Filter) -> Result<PictureFit, ConfigError> {
    if !(share > 0.0 && share <= 1.0) {
        return Err(ConfigError::range("crop_pct", share, "a share in (0, 1]"));
    }
    let resize = if side < CONVNEXT_WHOLE {
        Resize::Shorter((side as f64 / share) as usize)
    } else {
        Resize::Square(side)
    };
    Ok(PictureFit {
        resize,
        filter,
        crop: side,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fit(keys: Value, side: Option<usize>) -> Result<Option<PictureFit>, String> {
        let Value::Object(keys) = keys else {
            unreachable!()
        };
        Processor::new(&keys, "mlp")
            .fit(side)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn sizes_of_published_processors_are_understood() {
        let vit = json!({ "image_processor_type": "ViTImageProcessor", "size": { "height": 224, "width": 224 }, "resample": 2 });
        let square = PictureFit::square(224, Filter::Triangle);
        assert_eq!(fit(vit, Some(224)), Ok(Some(square)));
        let old = json!({ "feature_extractor_type": "ViTFeatureExtractor", "size": 224 });
        assert_eq!(fit(old, Some(224)), Ok(Some(square)));
        let part = |edge, crop| PictureFit {
            resize: Resize::Shorter(edge),
            filter: Filter::Cubic,
            crop,
        };
        let dino = json!({ "image_processor_type": "BitImageProcessor", "size": { "shortest_edge": 256 },
            "crop_size": { "height": 224, "width": 224 }, "do_center_crop": true });
        assert_eq!(fit(dino, Some(518)), Ok(Some(part(256, 224))));
        let resnet = json!({ "feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": 0.875, "resample": 3 });
        assert_eq!(fit(resnet, Some(224)), Ok(Some(part(256, 224))));
        let large = json!({ "image_processor_type": "ConvNextImageProcessor", "size": { "shortest_edge": 384 }, "resample": 3 });
        assert_eq!(
            fit(large, None),
            Ok(Some(PictureFit::square(384, Filter::Cubic)))
        );
        let clip = json!({ "feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 224 });
        assert_eq!(fit(clip, Some(224)), Ok(Some(part(224, 224))));
        let uncut = json!({ "image_processor_type": "BitImageProcessor", "size": { "shortest_edge": 256 } });
        assert_eq!(fit(uncut, Some(518)), Ok(Some(part(256, 224))));
        let ours = json!({ "image_mean": [0.5], "image_std": [0.5] });
        assert_eq!(fit(ours, Some(28)), Ok(None));
    }

    #[test]
    fn a_file_without_a_name_means_the_processor_of_the_family() {
        let keys = json!({ "size": 32 });
        let keys = keys.as_object().unwrap();
        let of = |family| {
            let processor = Processor::new(keys, family);
            let colours = processor.normalise().unwrap();
            let fit = processor.fit(Some(32)).unwrap().unwrap();
            (fit.resize, colours.map(|colours| colours.mean()[0]))
        };
        assert_eq!(of("vit"), (Resize::Square(32), Some(0.5)));
        assert_eq!(of("clip").1, Some(0.481_454_66));
        assert_eq!(of("mlp"), (Resize::Shorter(32), None));
        let named = json!({ "size": 32, "image_processor_type": "ConvNextImageProcessor" });
        let processor = Processor::new(named.as_object().unwrap(), "clip");
        let colours = processor.normalise().unwrap().unwrap();
        assert_eq!((processor.kind, colours.mean()[0]), (Kind::ConvNext, 0.5));
    }

    #[test]
    fn what_is_not_done_here_is_refused() {
        for (keys, start) in [
            (json!({ "size": { "height": 8, "width": 9 } }), "`size` is"),
            (
                json!({ "size": { "shortest_edge": 8 }, "do_center_crop": false }),
                "`do_center_crop` is false",
            ),
            (json!({ "size": 8, "crop_pct": 0.9 }), "`crop_pct` is 0.9"),
            (json!({ "size": 8, "resample": 1 }), "`resample` is 1"),
            (json!({ "size": 8, "crop_size": 9 }), "`crop_size` is 9"),
            (json!({ "size": 9999 }), "`size` is 9999"),
        ] {
            let error = fit(keys, Some(8)).unwrap_err();
            assert!(error.starts_with(start), "{error}");
        }
    }
}

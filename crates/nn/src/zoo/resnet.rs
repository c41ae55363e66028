//! Residual networks (He et al. 2016, arXiv:1512.03385), in the names of Hugging Face's `ResNetModel`.

use super::{layers, settings::Settings, size};
use crate::{
    NnError, Pass, Scope,
    blocks::{Activation, ConvNorm, Linear, Residual, mean_of_places},
};
use refit_core::ConfigError;
use refit_kernels::dual::{self, Dual};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a layer of a [`ResNet`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResNetLayer {
    /// Two convolutions of 3 x 3, as in ResNet-18 and 34.
    Basic,
    /// 1 x 1 to a quarter of the channels, 3 x 3, 1 x 1 back, as in ResNet-50 and larger.
    #[default]
    Bottleneck,
}

/// Norms of a [`ResNet`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResNetNorm {
    /// Batch norm, as published.
    #[default]
    Batch,
    /// Group norm, which does not mix pictures.
    Group,
}

/// Configuration of a [`ResNet`]; keys and defaults are Hugging Face's, `norm` and `num_groups` are ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResNetConfig {
    /// Channels of the image.
    pub num_channels: usize,
    /// Channels of the first convolution.
    pub embedding_size: usize,
    /// Channels of every stage.
    pub hidden_sizes: Vec<usize>,
    /// Layers of every stage.
    pub depths: Vec<usize>,
    /// What a layer is.
    pub layer_type: ResNetLayer,
    /// The curve behind convolutions.
    pub hidden_act: Activation,
    /// Whether the first stage halves the map too.
    pub downsample_in_first_stage: bool,
    /// Whether a bottleneck halves the map in its first convolution in place of its second.
    pub downsample_in_bottleneck: bool,
    /// Which norms stand behind convolutions.
    pub norm: ResNetNorm,
    /// Groups of group norm; divides the channels of every convolution.
    pub num_groups: usize,
    /// Classes of the classifier; 0 for an encoder without one.
    pub num_labels: usize,
}

impl Default for ResNetConfig {
    /// ResNet-50.
    fn default() -> Self {
        Self {
            num_channels: 3,
            embedding_size: 64,
            hidden_sizes: vec![256, 512, 1024, 2048],
            depths: vec![3, 4, 6, 3],
            layer_type: ResNetLayer::Bottleneck,
            hidden_act: Activation::Relu,
            downsample_in_first_stage: false,
            downsample_in_bottleneck: false,
            norm: ResNetNorm::Batch,
            num_groups: 32,
            num_labels: 0,
        }
    }
}

impl ResNetConfig {
    /// Reads the keys of a published `config.json`, where the number of classes is that of their names.
    ///
    /// # Errors
    /// A value of another type or out of range.
    ///
    /// # Example
    /// ```
    /// use refit_nn::zoo::{ResNetConfig, ResNetNorm};
    /// let json = serde_json::json!({ "model_type": "resnet", "norm": "group" });
    /// let config = ResNetConfig::read(json.as_object().unwrap())?;
    /// assert_eq!((config.depths, config.norm), (vec![3, 4, 6, 3], ResNetNorm::Group));
    /// # Ok::<(), refit_core::ConfigError>(())
    /// ```
    pub fn read(keys: &Map<String, Value>) -> Result<Self, ConfigError> {
        let (settings, plain) = (Settings(keys), Self::default());
        settings.only("model_type", &"resnet".to_owned())?;
        let named = settings.image_classes()?;
        let config = Self {
            num_channels: settings.get("num_channels", plain.num_channels)?,
            embedding_size: settings.get("embedding_size", plain.embedding_size)?,
            hidden_sizes: settings.get("hidden_sizes", plain.hidden_sizes)?,
            depths: settings.get("depths", plain.depths)?,
            layer_type: settings.get("layer_type", plain.layer_type)?,
            hidden_act: settings.get("hidden_act", plain.hidden_act)?,
            downsample_in_first_stage: settings.get("downsample_in_first_stage", false)?,
            downsample_in_bottleneck: settings.get("downsample_in_bottleneck", false)?,
            norm: settings.get("norm", plain.norm)?,
            num_groups: settings.get("num_groups", plain.num_groups)?,
            num_labels: settings.get("num_labels", named)?,
        };
        config.check()?;
        Ok(config)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        size("num_channels", self.num_channels)?;
        size("embedding_size", self.embedding_size)?;
        let stages = self.hidden_sizes.len();
        if stages == 0 || self.depths.len() != stages {
            let expected =
                format!("one number for each of the {stages} `hidden_sizes`, at least one");
            return Err(ConfigError::range(
                "depths",
                format!("{:?}", self.depths),
                expected,
            ));
        }
        for &hidden in &self.hidden_sizes {
            size("hidden_sizes", hidden)?;
            if self.inner(hidden) == 0 {
                return Err(ConfigError::range("hidden_sizes", hidden, "at least 4"));
            }
        }
        for &depth in &self.depths {
            size("depths", depth)?;
            layers("depths", depth)?;
        }
        if let Some(groups) = self.groups() {
            let inner = self.hidden_sizes.iter().map(|&hidden| self.inner(hidden));
            let widths = inner.chain(self.hidden_sizes.iter().copied());
            for width in widths.chain([self.embedding_size]) {
                super::divides("num_groups", groups, width)?;
            }
        }
        Ok(())
    }

    /// Entries of the features in front of the classifier.
    pub(super) fn width(&self) -> usize {
        self.hidden_sizes.last().copied().unwrap_or(0)
    }

    /// Channels between the convolutions of a layer.
    fn inner(&self, outputs: usize) -> usize {
        match self.layer_type {
            ResNetLayer::Basic => outputs,
            ResNetLayer::Bottleneck => outputs / 4,
        }
    }

    fn groups(&self) -> Option<usize> {
        (self.norm == ResNetNorm::Group).then_some(self.num_groups)
    }

    fn conv(
        &self,
        scope: &Scope<'_>,
        channels: [usize; 2],
        shape: [usize; 2],
    ) -> Result<ConvNorm, NnError> {
        ConvNorm::bind(
            scope,
            ["convolution", "normalization"],
            channels,
            shape,
            self.groups(),
        )
    }

    fn layer(
        &self,
        scope: &Scope<'_>,
        [inputs, outputs]: [usize; 2],
        stride: usize,
    ) -> Result<Residual, NnError> {
        let inner = self.inner(outputs);
        let shapes = match self.layer_type {
            ResNetLayer::Basic => vec![([inputs, outputs], [3, stride]), ([outputs; 2], [3, 1])],
            ResNetLayer::Bottleneck => {
                let [first, second] = if self.downsample_in_bottleneck {
                    [stride, 1]
                } else {
                    [1, stride]
                };
                vec![
                    ([inputs, inner], [1, first]),
                    ([inner; 2], [3, second]),
                    ([inner, outputs], [1, 1]),
                ]
            }
        };
        let place = scope.at("layer");
        let convs = shapes.into_iter().enumerate();
        let convs = convs.map(|(i, (channels, shape))| self.conv(&place.at(i), channels, shape));
        let changes = stride > 1 || inputs != outputs;
        let shortcut = || self.conv(&scope.at("shortcut"), [inputs, outputs], [1, stride]);
        let convs = convs.collect::<Result<_, _>>()?;
        let shortcut = changes.then(shortcut).transpose()?;
        Ok(Residual::new(convs, shortcut, self.hidden_act))
    }
}

/// A residual network bound to weights.
#[derive(Clone, Debug)]
pub struct ResNet {
    stem: ConvNorm,
    blocks: Vec<Residual>,
    curve: Activation,
    classifier: Option<Linear>,
}

impl ResNet {
    /// Binds a checked configuration.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind(config: &ResNetConfig, scope: &Scope<'_>) -> Result<Self, NnError> {
        let (place, mut inputs) = (scope.inside("resnet"), config.embedding_size);
        let stem = place.at("embedder.embedder");
        let stem = config.conv(&stem, [config.num_channels, inputs], [7, 2])?;
        let mut blocks = Vec::new();
        let stages = config.hidden_sizes.iter().zip(&config.depths);
        for (stage, (&outputs, &depth)) in stages.enumerate() {
            let at = place.at("encoder.stages").at(stage).at("layers");
            for i in 0..depth {
                let halves = i == 0 && (stage > 0 || config.downsample_in_first_stage);
                let stride = if halves { 2 } else { 1 };
                blocks.push(config.layer(&at.at(i), [inputs, outputs], stride)?);
                inputs = outputs;
            }
        }
        let classes = config.num_labels;
        let classifier = || Linear::bind(&scope.at("classifier.1"), inputs, classes);
        Ok(Self {
            stem,
            blocks,
            curve: config.hidden_act,
            classifier: (classes > 0).then(classifier).transpose()?,
        })
    }

    /// `pixels [n, c, h, w]` -> logits `[n, classes]`, or the mean of the last map, `[n, d]`, without a classifier.
    pub fn forward(&self, pixels: Dual<4>, pass: &mut Pass) -> Dual<2> {
        let stem = self.curve.apply(self.stem.forward(pixels, pass));
        let mut x = dual::max_pool2d(stem, [3; 2], [2; 2], [1; 2]);
        for block in &self.blocks {
            x = block.forward(x, pass);
        }
        let features = mean_of_places(x);
        match &self.classifier {
            Some(classifier) => classifier.forward(features),
            None => features,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_that_no_network_has_are_named() {
        for (json, start) in [
            (
                json!({ "depths": [1, 2] }),
                "`depths` is [1, 2], expected one number",
            ),
            (
                json!({ "depths": [], "hidden_sizes": [] }),
                "`depths` is []",
            ),
            (
                json!({ "hidden_sizes": [8, 3], "depths": [1, 1] }),
                "`hidden_sizes` is 3",
            ),
            (
                json!({ "norm": "group", "num_groups": 48 }),
                "`num_groups` is 48, expected a divisor",
            ),
            (
                json!({ "norm": "group", "num_groups": 0 }),
                "`num_groups` is 0",
            ),
            (json!({ "layer_type": "other" }), "`layer_type`"),
        ] {
            let found = ResNetConfig::read(json.as_object().unwrap()).unwrap_err();
            let found = found.to_string();
            assert!(found.starts_with(start), "{found}");
        }
    }
}

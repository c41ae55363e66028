//! Which axes of which tensors move together.

use serde::{Deserialize, Serialize};

/// One axis of a tensor, or of all tensors of a pattern, that a permutation moves.
///
/// An axis is read as `repeats` equal periods; in each, items of `unit` neighbours follow one another from `start` on.
/// The items change places, as wholes and in every period alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Binding {
    /// Name of the tensor; `*` stands for any one part between dots.
    pub tensor: String,
    /// The axis, counted from 0.
    pub axis: usize,
    /// Name of the permutation; each `*` takes what the one in `tensor` stands for, in order.
    pub permutation: String,
    /// Neighbours that move together (default 1): the width of an attention head, the pixels of a flattened map.
    #[serde(default = "one")]
    pub unit: usize,
    /// Periods (default 1): 3 for query, key and value in one tensor.
    #[serde(default = "one")]
    pub repeats: usize,
    /// Entries before the first item (default 0).
    #[serde(default)]
    pub start: usize,
    /// Items in a period (default: up to its end).
    #[serde(default)]
    pub items: Option<usize>,
    /// Whether it is fine that no tensor has the name (default: no).
    #[serde(default)]
    pub optional: bool,
}

fn one() -> usize {
    1
}

impl Binding {
    /// All entries of `axis`, one by one.
    pub fn new(tensor: impl Into<String>, axis: usize, permutation: impl Into<String>) -> Self {
        Self {
            tensor: tensor.into(),
            axis,
            permutation: permutation.into(),
            unit: 1,
            repeats: 1,
            start: 0,
            items: None,
            optional: false,
        }
    }

    /// Items of `unit` neighbours.
    #[must_use]
    pub fn in_units_of(self, unit: usize) -> Self {
        Self { unit, ..self }
    }

    /// `items` items from `start` on.
    #[must_use]
    pub fn within(self, start: usize, items: usize) -> Self {
        let items = Some(items);
        Self {
            start,
            items,
            ..self
        }
    }

    /// A tensor that some models do not have.
    #[must_use]
    pub fn optional(self) -> Self {
        Self {
            optional: true,
            ..self
        }
    }

    /// The permutation of the tensor called `path`, if the binding speaks of it.
    pub(super) fn permutation_of(&self, path: &str) -> Option<String> {
        let (mut parts, mut stars) = (path.split('.'), Vec::new());
        for pattern in self.tensor.split('.') {
            let part = parts.next()?;
            match pattern {
                "*" => stars.push(part),
                _ if pattern == part => {}
                _ => return None,
            }
        }
        if parts.next().is_some() {
            return None;
        }
        let (mut name, mut stars) = (String::new(), stars.into_iter());
        for (i, text) in self.permutation.split('*').enumerate() {
            if i > 0 {
                name += stars.next().unwrap_or("*");
            }
            name += text;
        }
        Some(name)
    }
}

/// Which axes of which tensors move together: one permutation per group of hidden units, and every place where it acts.
///
/// Written as data, so that architectures of one's own need no code:
///
/// ```
/// use refit_merge::align::PermutationSpec;
/// let spec: PermutationSpec = serde_json::from_str(r#"{"bindings": [
///     {"tensor": "blocks.*.up.weight", "axis": 0, "permutation": "blocks.*.hidden"},
///     {"tensor": "blocks.*.down.weight", "axis": 1, "permutation": "blocks.*.hidden"}]}"#).unwrap();
/// assert_eq!(spec.bindings[0].unit, 1);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PermutationSpec {
    /// Every place where a permutation acts.
    pub bindings: Vec<Binding>,
}

impl PermutationSpec {
    /// An MLP of `layers` linear layers, `layers.0` to `layers.{layers - 1}`: the units between two of them.
    pub fn mlp(layers: usize) -> Self {
        let mut spec = Self::default();
        for i in 0..layers {
            let name = format!("layers.{i}");
            if i > 0 {
                spec.inputs(&name, &format!("hidden.{}", i - 1));
            }
            if i + 1 < layers {
                spec.outputs(&name, &format!("hidden.{i}"));
            }
        }
        spec
    }

    /// A convolutional network: `conv1` to `conv{convs}`, `norm1`, `fc1` on maps of `pixels` positions, `fc2`.
    pub fn conv_net(convs: usize, pixels: usize) -> Self {
        let mut spec = Self::default();
        for i in 1..=convs {
            let name = format!("conv{i}");
            if i > 1 {
                spec.inputs(&name, &format!("channels.{}", i - 1));
            }
            spec.outputs(&name, &format!("channels.{i}"));
        }
        let last = format!("channels.{convs}");
        spec.norm("norm1", &last);
        spec.bind(Binding::new("fc1.weight", 1, last).in_units_of(pixels));
        spec.outputs("fc1", "hidden");
        spec.inputs("fc2", "hidden");
        spec
    }

    /// A residual network for small images with shortcuts that pad channels with zeros (option A): `conv1`, `bn1`,
    /// `layer1` to `layer3` of `blocks` blocks each, `linear`. `width` is the number of channels of `layer1`, an even
    /// number; each later layer has twice as many.
    ///
    /// The sum that runs through the blocks has one permutation per layer and none that crosses the padding: what
    /// a layer adds lies half before and half behind the channels that it takes over, and each of the three moves
    /// within itself.
    pub fn cifar_resnet(blocks: usize, width: usize) -> Self {
        let mut spec = Self::default();
        let sum = |channels: usize| Sum { width, channels };
        spec.bind_sum("conv1.weight", 0, sum(width), false);
        spec.norm_sum("bn1", sum(width));
        let mut inputs = width;
        for layer in 0..3 {
            let outputs = width << layer;
            for i in 0..blocks {
                let name = format!("layer{}.{i}", layer + 1);
                let inner = format!("{name}.inner");
                spec.bind_sum(&format!("{name}.conv1.weight"), 1, sum(inputs), false);
                spec.bind(Binding::new(format!("{name}.conv1.weight"), 0, &inner));
                spec.norm(&format!("{name}.bn1"), &inner);
                spec.bind(Binding::new(format!("{name}.conv2.weight"), 1, &inner));
                spec.bind_sum(&format!("{name}.conv2.weight"), 0, sum(outputs), false);
                spec.norm_sum(&format!("{name}.bn2"), sum(outputs));
                inputs = outputs;
            }
        }
        spec.bind_sum("linear.weight", 1, sum(inputs), false);
        spec
    }

    /// A vision transformer in the names of Hugging Face below `prefix` (`""` or `"vit."`): in each block the heads of
    /// the attention, `head` wide, and the units of the MLP. What runs through the blocks is left in its order.
    pub fn vit(prefix: &str, head: usize) -> Self {
        let mut spec = Self::default();
        let block = format!("{prefix}encoder.layer.*");
        let (heads, units) = (format!("{block}.heads"), format!("{block}.units"));
        for part in ["query", "key", "value"] {
            let name = format!("{block}.attention.attention.{part}");
            spec.bind(Binding::new(format!("{name}.weight"), 0, &heads).in_units_of(head));
            let bias = Binding::new(format!("{name}.bias"), 0, &heads).in_units_of(head);
            spec.bind(bias.optional());
        }
        let output = format!("{block}.attention.output.dense.weight");
        spec.bind(Binding::new(output, 1, &heads).in_units_of(head));
        spec.outputs(&format!("{block}.intermediate.dense"), &units);
        spec.inputs(&format!("{block}.output.dense"), &units);
        spec
    }

    /// Adds a place.
    pub fn bind(&mut self, binding: Binding) {
        self.bindings.push(binding);
    }

    /// The outputs of a linear layer or a convolution.
    pub fn outputs(&mut self, layer: &str, permutation: &str) {
        self.bind(Binding::new(format!("{layer}.weight"), 0, permutation));
        self.bind(Binding::new(format!("{layer}.bias"), 0, permutation).optional());
    }

    /// The inputs of a linear layer or a convolution.
    pub fn inputs(&mut self, layer: &str, permutation: &str) {
        self.bind(Binding::new(format!("{layer}.weight"), 1, permutation));
    }

    /// A normalisation over channels, with its running statistics where it has some.
    pub fn norm(&mut self, layer: &str, permutation: &str) {
        for part in NORM {
            self.bind(Binding::new(format!("{layer}.{part}"), 0, permutation).optional());
        }
    }

    fn norm_sum(&mut self, layer: &str, sum: Sum) {
        for part in NORM {
            self.bind_sum(&format!("{layer}.{part}"), 0, sum, true);
        }
    }

    /// Binds every stretch of the residual sum.
    fn bind_sum(&mut self, tensor: &str, axis: usize, sum: Sum, optional: bool) {
        for (name, start, items) in sum.stretches() {
            let binding = Binding::new(tensor, axis, name).within(start, items);
            self.bind(Binding {
                optional,
                ..binding
            });
        }
    }
}

/// What a normalisation stores per channel.
const NORM: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];

/// The channels that run through the blocks of a residual network of option A.
#[derive(Clone, Copy)]
struct Sum {
    /// Channels at the beginning.
    width: usize,
    /// Channels here: `width` times a power of two.
    channels: usize,
}

impl Sum {
    /// Each permutation with its first channel and the number of its channels.
    fn stretches(self) -> Vec<(String, usize, usize)> {
        if self.channels <= self.width {
            return vec![("sum".into(), 0, self.channels)];
        }
        let (before, half) = (self.channels / 4, self.channels / 2);
        let inner = Self {
            channels: half,
            ..self
        };
        let mut all = inner.stretches();
        for (_, start, _) in &mut all {
            *start += before;
        }
        all.push((format!("sum.{}.before", self.channels), 0, before));
        let behind = format!("sum.{}.behind", self.channels);
        all.push((behind, before + half, half - before));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_part_and_names_the_permutation() {
        let binding = Binding::new("blocks.*.mlp.*.weight", 0, "b*/m*");
        let of = |path| binding.permutation_of(path);
        assert_eq!(of("blocks.3.mlp.up.weight").unwrap(), "b3/mup");
        for other in [
            "blocks.3.mlp.up",
            "blocks.3.mlp.up.weight.x",
            "x.3.mlp.up.weight",
            "",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn padding_wraps_what_a_layer_takes_over() {
        let stretches = |channels| Sum { width: 4, channels }.stretches();
        assert_eq!(stretches(4), [("sum".into(), 0, 4)]);
        let eight = [
            ("sum".to_owned(), 2, 4),
            ("sum.8.before".into(), 0, 2),
            ("sum.8.behind".into(), 6, 2),
        ];
        assert_eq!(stretches(8), eight);
        let mut covered = [0; 16];
        for (_, start, items) in stretches(16) {
            covered[start..start + items]
                .iter_mut()
                .for_each(|n| *n += 1);
        }
        assert_eq!(covered, [1; 16]);
    }

    #[test]
    fn a_spec_reads_back_what_it_writes() {
        for spec in [
            PermutationSpec::mlp(3),
            PermutationSpec::conv_net(2, 9),
            PermutationSpec::cifar_resnet(3, 16),
            PermutationSpec::vit("vit.", 64),
        ] {
            let json = serde_json::to_string(&spec).unwrap();
            assert_eq!(
                serde_json::from_str::<PermutationSpec>(&json).unwrap(),
                spec
            );
        }
    }
}

//! Every body in one form: modules of slices of sources.

use super::{
    header::Header,
    problem::{PlanProblem, Problems, no_module, quoted},
};
use crate::recipe::{
    BaseUse, Body, ModelEntry, ModelRef, Place, Recipe, Settings, Slice, structure::Structure,
};
use std::collections::{HashMap, HashSet};

/// Most layers of a result.
const MOST_LAYERS: usize = 1 << 14;

/// One module of the result.
pub(super) struct Part<'a> {
    /// Its place in [`Structure::modules`].
    pub(super) module: usize,
    pub(super) parameters: Option<&'a Settings>,
    /// What is stacked; empty where the module is copied from the first model.
    pub(super) cuts: Vec<Cut<'a>>,
    /// Whether layers keep their numbers.
    pub(super) whole: bool,
}

/// Layers that are merged from as many layers of each source.
pub(super) struct Cut<'a> {
    pub(super) feeds: Vec<Feed<'a>>,
    /// Which of the feeds is the base, where the method uses one.
    pub(super) base: Option<usize>,
    pub(super) parameters: Option<&'a Settings>,
    pub(super) layers: usize,
}

/// Layers of one model.
pub(super) struct Feed<'a> {
    /// Its place among [`Recipe::models`].
    pub(super) model: usize,
    pub(super) start: usize,
    pub(super) parameters: Option<&'a Settings>,
}

impl Cut<'_> {
    /// The feed whose tensors decide which there are: the base, or the first.
    pub(super) fn reference(&self) -> usize {
        self.base.unwrap_or(0)
    }
}

/// Brings bodies into the form of parts.
pub(super) struct Parts<'a, 'p> {
    pub(super) recipe: &'a Recipe,
    pub(super) models: &'a [&'a ModelRef],
    pub(super) headers: &'p [Header<'a>],
    pub(super) structure: &'p Structure,
    pub(super) problems: &'p mut Problems,
}

impl<'a> Parts<'a, '_> {
    /// The parts, one for each module in the order of the structure.
    pub(super) fn read(&mut self) -> Vec<Part<'a>> {
        let names: Vec<&str> = self.structure.modules().iter().map(|m| m.name).collect();
        let parts = match &self.recipe.body {
            Body::Modules(modules) => {
                let mut parts: HashMap<usize, Part<'a>> = HashMap::new();
                for module in modules {
                    let Some(at) = names.iter().position(|name| *name == module.name) else {
                        self.problems.push(no_module(&module.name, &names));
                        continue;
                    };
                    let place = Place::top().key("modules").key(&module.name);
                    let parameters = Some(&module.parameters);
                    parts.insert(at, self.part(at, &module.body, parameters, &place));
                }
                let left = |at| Part {
                    module: at,
                    parameters: None,
                    cuts: vec![],
                    whole: true,
                };
                let part = |at| parts.remove(&at).unwrap_or_else(|| left(at));
                (0..names.len()).map(part).collect()
            }
            Body::Slices(_) if names.len() > 1 => {
                let known = quoted(names);
                self.problems.push(PlanProblem::WhichModule { known });
                vec![]
            }
            body => {
                let part = |at| self.part(at, body, None, &Place::top());
                (0..names.len()).map(part).collect::<Vec<_>>()
            }
        };
        let layers = parts.iter().flat_map(|part| &part.cuts);
        let found = layers.map(|cut| cut.layers).fold(0, usize::saturating_add);
        if found > MOST_LAYERS {
            let most = MOST_LAYERS;
            self.problems
                .push(PlanProblem::TooManyLayers { found, most });
        }
        parts
    }

    fn part(
        &mut self,
        module: usize,
        body: &'a Body,
        parameters: Option<&'a Settings>,
        place: &Place,
    ) -> Part<'a> {
        let (cuts, whole) = match body {
            Body::Models(models) => (vec![self.whole(module, models, &place.key("models"))], true),
            Body::Slices(slices) => {
                let place = place.key("slices");
                let cut = |(index, slice)| self.cut(module, slice, &place.item(index));
                (slices.iter().enumerate().map(cut).collect(), false)
            }
            Body::Modules(_) => (vec![], true), // never: modules do not nest
        };
        Part {
            module,
            parameters,
            cuts,
            whole,
        }
    }

    /// All layers of each model; a base that is not listed comes last.
    fn whole(&mut self, module: usize, entries: &'a [ModelEntry], place: &Place) -> Cut<'a> {
        let base = self.recipe.base_model.as_ref();
        let listed = |base: &&ModelRef| entries.iter().all(|entry| entry.model != **base);
        let named = entries
            .iter()
            .map(|entry| (&entry.model, Some(&entry.parameters)));
        let feeds: Vec<Feed<'a>> = named
            .chain(base.filter(listed).map(|base| (base, None)))
            .map(|(model, parameters)| Feed {
                model: self.model(model),
                start: 0,
                parameters,
            })
            .collect();
        let layers = |feed: &Feed<'_>| self.headers[feed.model].layers(module);
        let counts: Vec<usize> = feeds.iter().map(layers).collect();
        self.same_length(&feeds, &counts, place);
        Cut {
            base: self.base(&feeds, base, place),
            layers: counts[0],
            feeds,
            parameters: None,
        }
    }

    fn cut(&mut self, module: usize, slice: &'a Slice, place: &Place) -> Cut<'a> {
        let sources = place.key("sources");
        let mut feeds = vec![];
        for (index, source) in slice.sources.iter().enumerate() {
            let model = self.model(&source.model);
            let layers = self.headers[model].layers(module);
            if source.layers.end > layers {
                self.problems.push(PlanProblem::Range {
                    place: sources.item(index).key("layer_range"),
                    start: source.layers.start,
                    end: source.layers.end,
                    model: self.models[model].to_string(),
                    layers,
                });
            }
            feeds.push(Feed {
                model,
                start: source.layers.start,
                parameters: Some(&source.parameters),
            });
        }
        let counts: Vec<usize> = slice
            .sources
            .iter()
            .map(|source| source.layers.len())
            .collect();
        self.same_length(&feeds, &counts, place);
        let base = slice
            .base_model
            .as_ref()
            .or(self.recipe.base_model.as_ref());
        Cut {
            base: self.base(&feeds, base, place),
            layers: counts[0],
            feeds,
            parameters: Some(&slice.parameters),
        }
    }

    /// The place of `model` among the models of the recipe.
    fn model(&self, model: &ModelRef) -> usize {
        // Every model of the body is among them.
        let at = self.models.iter().position(|known| *known == model);
        at.unwrap_or_default()
    }

    fn same_length(&mut self, feeds: &[Feed<'_>], counts: &[usize], place: &Place) {
        for (feed, &found) in feeds.iter().zip(counts) {
            if found != counts[0] {
                self.problems.push(PlanProblem::Lengths {
                    place: place.clone(),
                    model: self.models[feed.model].to_string(),
                    found,
                    expected: counts[0],
                });
            }
        }
    }

    /// Which feed is the base; checks that the method can work with these models.
    fn base(
        &mut self,
        feeds: &[Feed<'_>],
        base: Option<&ModelRef>,
        place: &Place,
    ) -> Option<usize> {
        let mut seen = HashSet::new();
        for feed in feeds.iter().filter(|feed| !seen.insert(feed.model)) {
            self.problems.push(PlanProblem::Twice {
                place: place.clone(),
                model: self.models[feed.model].to_string(),
            });
        }
        let method = self.recipe.method;
        let base = base.filter(|_| method.base != BaseUse::None);
        let at = base.and_then(|base| {
            let model = self.model(base);
            feeds.iter().position(|feed| feed.model == model)
        });
        match (base, at) {
            (None, _) if method.base == BaseUse::Required => {
                self.problems.push(PlanProblem::NoBase {
                    place: place.clone(),
                    method: method.card.name,
                });
                return None;
            }
            (Some(base), None) => {
                self.problems.push(PlanProblem::BaseNotASource {
                    place: place.clone(),
                    base: base.to_string(),
                });
                return None;
            }
            _ => {}
        }
        self.count(feeds.len() - usize::from(at.is_some()), at.is_some(), place);
        at
    }

    fn count(&mut self, found: usize, has_base: bool, place: &Place) {
        let method = self.recipe.method;
        let (fewest, most) = method.models;
        if (fewest..=most).contains(&found) {
            return;
        }
        self.problems.push(PlanProblem::ModelCount {
            place: place.clone(),
            found,
            beside: if has_base { " beside the base" } else { "" },
            method: method.card.name,
            expected: match (fewest, most) {
                (fewest, usize::MAX) => format!("{fewest} or more"),
                (fewest, most) if fewest == most => fewest.to_string(),
                (fewest, most) => format!("{fewest} to {most}"),
            },
        });
    }
}

//! The tensors of the result, one after the other.

use super::{
    EmbeddingMismatch, InputRef, OutputTensor, Plan,
    header::Header,
    parts::{Cut, Part},
    problem::{PlanError, Problems},
    slot::Slot,
};
use crate::recipe::{
    Depth, ModelRef, Recipe,
    structure::{Structure, Vocabulary, is_buffer, is_early, vocabulary},
};
use std::collections::HashSet;

/// Collects tensors and problems.
pub(super) struct Builder<'a, 'p> {
    pub(super) recipe: &'a Recipe,
    models: &'a [&'a ModelRef],
    pub(super) names: Vec<String>,
    pub(super) headers: &'p [Header<'a>],
    structure: &'p Structure,
    pub(super) problems: Problems,
    pub(super) tensors: Vec<OutputTensor>,
    pub(super) mismatches: Vec<EmbeddingMismatch>,
    left_out: Vec<InputRef>,
    /// What was left out, so that it is told once.
    told: HashSet<(usize, usize)>,
}

/// Which tensors outside the layers a cut brings.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// Those before the layers.
    Early,
    /// Those behind them.
    Late,
}

impl<'a, 'p> Builder<'a, 'p> {
    pub(super) fn new(
        recipe: &'a Recipe,
        models: &'a [&'a ModelRef],
        headers: &'p [Header<'a>],
        structure: &'p Structure,
        problems: Problems,
    ) -> Self {
        Self {
            recipe,
            models,
            names: models.iter().map(ToString::to_string).collect(),
            headers,
            structure,
            problems,
            tensors: vec![],
            mismatches: vec![],
            left_out: vec![],
            told: HashSet::new(),
        }
    }

    /// Adds the tensors of one module.
    pub(super) fn part(&mut self, part: &Part<'_>) {
        let (Some(first), Some(last)) = (part.cuts.first(), part.cuts.last()) else {
            return self.copied(part.module);
        };
        self.outside(part, first, End::Early);
        let mut layer = 0;
        for cut in &part.cuts {
            for index in 0..cut.layers {
                self.layer(part, cut, index, layer);
                layer += 1;
            }
        }
        self.outside(part, last, End::Late);
    }

    /// A module that the recipe does not name stays as it is in the first model.
    fn copied(&mut self, module: usize) {
        let header = &self.headers[0];
        for (index, name) in header.names().enumerate() {
            if self.structure.module(name) == Some(module) {
                let layer = self.structure.modules()[module].layer(name);
                let input = InputRef {
                    model: 0,
                    index,
                    tensor: name.into(),
                };
                let layer = layer.map(|(layer, _)| layer);
                self.copy(name.into(), input, layer);
            }
        }
    }

    /// Tensors before or behind the layers.
    fn outside(&mut self, part: &Part<'_>, cut: &Cut<'_>, end: End) {
        let module = &self.structure.modules()[part.module];
        let belongs = |header: &Header<'_>, name: &str| {
            let early = if is_early(name) {
                End::Early
            } else {
                End::Late
            };
            self.structure.module(name) == Some(part.module)
                && early == end
                && match module.layer(name) {
                    None => true,
                    Some((layer, _)) => part.whole && layer >= header.layers(part.module),
                }
        };
        let names = |feed: usize| -> Vec<&str> {
            let header = &self.headers[cut.feeds[feed].model];
            header
                .names()
                .filter(|name| belongs(header, name))
                .collect()
        };
        let mut wanted = names(cut.reference());
        let mut known: HashSet<&str> = wanted.iter().copied().collect();
        let mut extra = vec![];
        for feed in (0..cut.feeds.len()).filter(|&feed| feed != cut.reference()) {
            for name in names(feed) {
                // A head that only some models store is merged; the others have it in their embedding.
                if vocabulary(name) == Some(Vocabulary::Head) && known.insert(name) {
                    wanted.push(name);
                } else if !known.contains(name) {
                    extra.push((cut.feeds[feed].model, name));
                }
            }
        }
        let wanted: Vec<String> = wanted.into_iter().map(str::to_owned).collect();
        self.leave_out(&extra);
        for path in wanted {
            let names = vec![path.clone(); cut.feeds.len()];
            self.slot(&Slot {
                path,
                names,
                layer: None,
                depth: Depth::OUTSIDE,
                part,
                cut,
            });
        }
    }

    /// Layer `index` of a cut, which becomes layer `number` of the result.
    fn layer(&mut self, part: &Part<'_>, cut: &Cut<'_>, index: usize, number: usize) {
        let module = &self.structure.modules()[part.module];
        let rests = |feed: usize| -> Vec<&str> {
            let feed = &cut.feeds[feed];
            self.headers[feed.model].rests(part.module, feed.start + index)
        };
        let wanted = rests(cut.reference());
        let known: HashSet<&str> = wanted.iter().copied().collect();
        let mut extra = vec![];
        for (at, feed) in cut.feeds.iter().enumerate() {
            for rest in rests(at).into_iter().filter(|rest| !known.contains(rest)) {
                extra.push((feed.model, module.name(feed.start + index, rest)));
            }
        }
        let extra: Vec<(usize, &str)> = extra.iter().map(|(m, name)| (*m, name.as_str())).collect();
        self.leave_out(&extra);
        for rest in wanted {
            let name = |start: usize| module.name(start + index, rest);
            self.slot(&Slot {
                path: module.name(number, rest),
                names: cut.feeds.iter().map(|feed| name(feed.start)).collect(),
                layer: Some(number),
                depth: Depth::layer(index, cut.layers),
                part,
                cut,
            });
        }
    }

    fn leave_out(&mut self, extra: &[(usize, &str)]) {
        for &(model, name) in extra.iter().filter(|(_, name)| !is_buffer(name)) {
            if let Some(index) = self.headers[model]
                .find(name)
                .filter(|&index| self.told.insert((model, index)))
            {
                self.left_out.push(InputRef {
                    model,
                    index,
                    tensor: name.into(),
                });
            }
        }
    }

    /// The plan without its configuration.
    pub(super) fn finish(mut self, parts: &[Part<'_>]) -> Result<Plan, PlanError> {
        self.problems.settle(self.models)?;
        if parts.iter().all(|part| part.whole) {
            sort(&mut self.tensors, &mut self.mismatches, &self.headers[0]);
        }
        Ok(Plan {
            method: self.recipe.method,
            models: self.models.iter().map(|&model| model.clone()).collect(),
            tensors: self.tensors,
            mismatches: self.mismatches,
            left_out: self.left_out,
            config: None,
        })
    }
}

/// Brings tensors into the order of the first model; those that it has not come last.
fn sort(tensors: &mut Vec<OutputTensor>, mismatches: &mut [EmbeddingMismatch], first: &Header<'_>) {
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|&at| first.find(tensors[at].path.as_str()).unwrap_or(usize::MAX));
    let mut places = vec![0; order.len()];
    for (place, &at) in order.iter().enumerate() {
        places[at] = place;
    }
    for mismatch in &mut *mismatches {
        mismatch.tensor = places[mismatch.tensor];
    }
    mismatches.sort_by_key(|mismatch| mismatch.tensor);
    let mut taken: Vec<Option<OutputTensor>> = tensors.drain(..).map(Some).collect();
    tensors.extend(order.into_iter().filter_map(|at| taken[at].take()));
}

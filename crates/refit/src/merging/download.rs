//! Models of the hub, brought before a job opens them.
//!
//! Without these calls no request is ever made.

use super::{
    AdapterJob, ExtractJob, MergeJob, MergingError, adapters::read_recipe, extract::model_ref,
};
use refit_core::Progress;
use refit_io::hub::{Hub, HubEnv};
use refit_merge::recipe::ModelRef;
use std::path::Path;

/// A name and, perhaps, a revision.
type Named = (String, Option<String>);

impl MergeJob {
    /// Brings every model that the recipes at `path` name, and that is no path, into the cache of the hub, where
    /// [`open`](Self::open) finds them. Says of which it could not ask the hub.
    ///
    /// # Errors
    /// A recipe that cannot be understood, a hub that refuses or does not answer. What came stays for the next try.
    pub fn download(
        path: &Path,
        env: HubEnv,
        progress: &dyn Progress,
    ) -> Result<Vec<String>, MergingError> {
        let set = Self::recipes(path)?;
        let steps = set.steps().iter();
        let models = steps.flat_map(|step| step.recipe.references());
        let named = models.flat_map(|model| names(model, set.result(model).is_some()));
        bring(named.collect(), env, progress)
    }
}

impl AdapterJob {
    /// As [`MergeJob::download`], for the adapters that the recipe at `path` names.
    ///
    /// # Errors
    /// As there.
    pub fn download(
        path: &Path,
        env: HubEnv,
        progress: &dyn Progress,
    ) -> Result<Vec<String>, MergingError> {
        let (_, adapters) = read_recipe(path)?;
        let named = adapters.into_iter().map(|(name, _)| (name, None));
        bring(named.collect(), env, progress)
    }
}

impl ExtractJob {
    /// As [`MergeJob::download`], for a model and its base.
    ///
    /// # Errors
    /// As there.
    pub fn download(
        model: &str,
        base: &str,
        env: HubEnv,
        progress: &dyn Progress,
    ) -> Result<Vec<String>, MergingError> {
        let models = [model_ref(model)?, model_ref(base)?];
        let named = models.iter().flat_map(|model| names(model, false));
        bring(named.collect(), env, progress)
    }
}

/// What of `model` may have to be brought; the result of an earlier recipe has not.
fn names(model: &ModelRef, made: bool) -> Vec<Named> {
    let places = [Some(&model.model).filter(|_| !made), model.adapter.as_ref()];
    let places = places.into_iter().flatten();
    let named = places.map(|place| (place.path.clone(), place.revision.clone()));
    named.collect()
}

fn bring(
    mut named: Vec<Named>,
    env: HubEnv,
    progress: &dyn Progress,
) -> Result<Vec<String>, MergingError> {
    named.retain(|(name, _)| !Path::new(name).exists());
    named.sort_unstable();
    named.dedup();
    let models = named
        .iter()
        .map(|(name, revision)| (&**name, revision.as_deref()));
    let models: Vec<_> = models.collect();
    let brought = Hub::new(env)?.download_models(&models, progress)?;
    let said = models.iter().zip(brought).filter_map(|((name, _), model)| {
        let why = model.unasked?;
        Some(format!("`{name}` is taken as the cache has it: {why}"))
    });
    Ok(said.collect())
}

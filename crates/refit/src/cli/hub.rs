//! Models of the hub: brought when that is asked for, and never otherwise.

use super::{
    args::RunArgs,
    error::{CliError, Exit},
    ui::Ui,
};
use crate::merging::MergingError;
use refit_core::Hint;
use refit_io::hub::{HubEnv, HubError};

/// Whether models may be brought.
#[derive(Debug, clap::Args)]
pub(super) struct HubArgs {
    /// Bring models and adapters that are no path, such as `org/name`, from the Hugging Face hub into its cache (`HF_HOME`,
    /// `HF_TOKEN`, `HF_ENDPOINT`); without this, and in a dry run, nothing is downloaded
    #[arg(long)]
    download: bool,
}

impl HubArgs {
    /// Calls `download` if models may be brought, and says what it says.
    pub(super) fn bring(
        &self,
        run: &RunArgs,
        ui: &Ui,
        download: impl FnOnce(HubEnv) -> Result<Vec<String>, MergingError>,
    ) -> Result<(), CliError> {
        if self.download && !run.dry_run {
            ui.listen();
            for warning in download(hub_env())? {
                ui.say(format_args!("warning: {warning}"));
            }
        }
        Ok(())
    }

    /// Recipes with a `method` name files.
    pub(super) fn refuse_for_own_recipes(&self) -> Result<(), CliError> {
        if self.download {
            let words = "--download is for recipes with a `merge_method` or an `adapter_method`";
            return Err(CliError::plain(Exit::Usage, words));
        }
        Ok(())
    }

    /// An error of opening models, which knows whether `--download` was given.
    pub(super) fn absent(&self, error: MergingError) -> CliError {
        let absent = matches!(&error, MergingError::Hub(error)
            if matches!(**error, HubError::NotCached { .. } | HubError::NoRevision { .. }));
        let error = CliError::from(error);
        if absent && self.download {
            return error.hint(
                "--download brings it when --dry-run is not given: a dry run downloads nothing",
            );
        }
        error
    }
}

/// The hub and its cache, as the environment says.
pub(super) fn hub_env() -> HubEnv {
    HubEnv::read(|name| std::env::var_os(name))
}

impl From<HubError> for CliError {
    fn from(error: HubError) -> Self {
        let exit = match error {
            HubError::Cancelled { .. } => {
                let hint = error.hint().unwrap_or_default().into_owned();
                return Self::interrupted().hint(hint);
            }
            HubError::Output(error) => return error.into(),
            HubError::Refused { .. } => Exit::Refused,
            HubError::Busy { .. }
            | HubError::Connection { .. }
            | HubError::Status { .. }
            | HubError::Answer { .. }
            | HubError::Mismatch { .. }
            | HubError::Cache { .. }
            | HubError::Locked { .. } => Exit::Failed,
            _ => Exit::BadInput,
        };
        Self::new(exit, &error)
    }
}

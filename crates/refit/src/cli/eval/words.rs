//! Accuracy of a CLIP, whose classes are the names of the data's.

use super::{
    super::{
        error::{CliError, Exit},
        ui::Ui,
    },
    EvalArgs,
    images::{BATCH, Scored, Summary, asked, part},
};
use crate::pictures::{ClipFolder, PictureClassifier};

pub(super) fn run(args: &EvalArgs, ui: &Ui) -> Result<(), CliError> {
    if args.head.is_some() || args.images.model.is_some() || args.images.normalise.is_some() {
        let words = "--head, --model and --normalise have no effect on a CLIP";
        return Err(CliError::plain(Exit::Usage, words));
    }
    let (source, split) = asked(args)?;
    let folder = ClipFolder::open(&args.path)?;
    args.run.start_threads()?;
    let task = source.read(&folder.picture_options())?;
    let set = part(args, split, &task)?;
    folder.check_set(&set)?;
    PictureClassifier::check_words(set.classes(), &args.images.hypothesis)?;
    if args.run.dry_run {
        return ui.show(&Summary::of(args, folder.num_values(), split, &set));
    }
    let device = args.run.device.open();
    let model =
        PictureClassifier::in_words(folder, set.classes(), &args.images.hypothesis, &device)?;
    ui.listen();
    let batch = args.images.batch.unwrap_or(BATCH) as usize;
    let score = model.score(&set, batch, ui)?;
    ui.show(&Scored::new(args, &task, split, score))
}

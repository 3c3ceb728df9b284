//! A whole run: the stages of a recipe, evaluated after each.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use ocelli_model::adapter::Adapter;
use ocelli_model::checkpoint::Checkpoint;
use ocelli_model::network::Network;
use ocelli_model::preset::Preset;
use ocelli_model::weights::Weights;
use ocelli_reward::RewardError;
use ocelli_rollout::Policy;
use serde_json::Value;

use crate::algorithm::AlgorithmState;
use crate::curriculum::CurriculumState;
use crate::curriculum::cycle::{Visit, visits};
use crate::error::LearnError;
use crate::evaluation::{EvalRow, Moment, answer, gallery, summarise};
use crate::forecast;
use crate::grpo::off_policy;
use crate::observer::Observer;
use crate::optimizer::Optimizer;
use crate::recipe::{Recipe, StageConfig, StageKind};
use crate::recipe_data::{RecipeData, StageData};
use crate::reward_log::RewardLog;
use crate::run::{Progress, Run, read_rows};
use crate::stage::{Session, StageEnd, StagePlan};
use crate::trainable::{self, Training};
use crate::{dpo, grpo, reward, sft};

/// What a run left behind.
#[derive(Debug)]
pub struct Finished {
    pub folder: PathBuf,
    /// Evaluations, in order.
    pub evaluations: Vec<EvalRow>,
    /// Newest checkpoint.
    pub checkpoint: Option<PathBuf>,
    pub end: StageEnd,
}

/// Reads everything a recipe names and returns one line a part, without training.
///
/// # Errors
/// What [`train`] would fail with before its first step.
pub fn plan(recipe: &Recipe, root: &Path) -> Result<Vec<String>, LearnError> {
    let (data, policy) = read(recipe, root)?;
    Ok(lines(recipe, &data, &policy))
}

/// Reads and checks everything a recipe names.
pub(crate) fn read(recipe: &Recipe, root: &Path) -> Result<(RecipeData, Policy), LearnError> {
    let data = RecipeData::load(recipe, root)?;
    let device = Device::flex();
    let policy = Policy::new(open_model(recipe, &device)?, &device)?;
    data.check(recipe, &policy)?;
    trainable::check(recipe, &policy.checkpoint.weights)?;
    Ok((data, policy))
}

pub(crate) fn lines(recipe: &Recipe, data: &RecipeData, policy: &Policy) -> Vec<String> {
    let mut lines = vec![format!(
        "model {}: {} parameters, {} tokens in the vocabulary",
        policy.checkpoint.origin,
        policy.checkpoint.weights.scalars(),
        policy.processor.tokenizer.vocab_size()
    )];
    if let Some(adapter) = policy.checkpoint.weights.adapter() {
        let sizes = policy.checkpoint.weights.iter();
        let trained = sizes.filter(|(name, _)| adapter.trains(name));
        let count: usize = trained
            .map(|(_, p)| p.shape.iter().product::<usize>())
            .sum();
        lines.push(format!("adapter: {count} of these parameters are its own"));
    }
    for (index, (stage, data)) in recipe.stage.iter().zip(&data.stages).enumerate() {
        lines.push(format!(
            "{}: {} steps of {} rows, from {} rows of {}",
            stage.kind.name(),
            stage.exit.max_steps,
            stage.batch.size,
            data.rows.tasks.len(),
            data.rows.name
        ));
        if let Some(repeat) = stage.repeat {
            lines.push(format!(
                "stages {} to {}: {} times",
                index + 2 - repeat.stages,
                index + 1,
                repeat.cycles
            ));
        }
    }
    if let Some((_, data, _)) = &data.eval {
        lines.push(format!("eval: {} rows of {}", data.tasks.len(), data.name));
    }
    lines
}

/// Trains a recipe from its first stage in a new run folder.
///
/// # Errors
/// When data, model or run folder can't be used.
pub fn train(
    recipe: &Recipe,
    name: &str,
    root: &Path,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Finished, LearnError> {
    train_file(recipe, None, name, root, observer, stop)
}

/// As [`train`], and keeps a copy of the file that the recipe was read from.
///
/// # Errors
/// As [`train`], or when the file can't be copied.
pub fn train_file(
    recipe: &Recipe,
    file: Option<&Path>,
    name: &str,
    root: &Path,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Finished, LearnError> {
    let (data, mut policy) = read(recipe, root)?;
    if let Some(warning) = forecast::warning(recipe, &data, &policy) {
        observer.message(&warning);
    }
    let log = RewardLog::default();
    data.start(&log)?;
    let run = Run::create(recipe, name)?;
    keep_base(recipe, &run, &mut policy.checkpoint)?;
    log.keep_in(run.folder());
    if let Some(file) = file {
        run.keep_recipe(file)?;
    }
    observer.message(&format!("run folder {}", run.folder().display()));
    let session = session(recipe, policy, run, observer, stop);
    run_stages(recipe, &data, session, None)
}

/// Goes on with a run from its newest checkpoint, or from the start when it has none.
///
/// # Errors
/// When the folder is no run, or its checkpoint can't be read.
pub fn resume(
    folder: &Path,
    recipe: &Recipe,
    root: &Path,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Finished, LearnError> {
    let mut run = Run::open(folder)?;
    let data = RecipeData::load(recipe, root)?;
    let device = Device::flex();
    let latest = Run::latest_checkpoint(folder)?;
    let (checkpoint, progress) = match &latest {
        Some((progress, path)) => (Checkpoint::load(path, &device)?, progress.clone()),
        None => (
            open_model(recipe, &device)?,
            Progress {
                stage: 0,
                step: 0,
                optimizer_steps: 0,
                version: 0,
                tokens: 0,
            },
        ),
    };
    let visits = visits(&recipe.stage);
    let stage = visits
        .get(progress.stage)
        .map(|visit| &recipe.stage[visit.stage])
        .ok_or_else(|| LearnError::Resume {
            path: folder.to_owned(),
            message: format!(
                "its checkpoint belongs to stage {}, which the recipe lacks",
                progress.stage + 1
            ),
        })?;
    let stage_over = match &latest {
        Some((_, path)) => is_over(stage, &progress, path)?,
        None => false,
    };
    let mut policy = Policy::new(checkpoint, &device)?;
    policy.version = progress.version;
    data.check(recipe, &policy)?;
    trainable::check(recipe, &policy.checkpoint.weights)?;
    if latest.is_none() {
        keep_base(recipe, &run, &mut policy.checkpoint)?;
    }
    let log = RewardLog::default();
    log.keep_in(folder);
    data.start(&log)?;
    run.rewind(&progress, stage_over)?;
    observer.message(&format!(
        "resuming {} after step {} of stage {} ({})",
        folder.display(),
        progress.step,
        progress.stage + 1,
        stage.kind.name()
    ));
    let mut session = session(recipe, policy, run, observer, stop);
    session.tokens = progress.tokens;
    run_stages(recipe, &data, session, latest)
}

/// The model that a recipe names, with a new adapter over it if the recipe asks for one.
fn open_model(recipe: &Recipe, device: &Device) -> Result<Checkpoint, LearnError> {
    let (model, seed) = (&recipe.model, recipe.run.seed);
    let mut checkpoint = Checkpoint::open(&model.path, &model.overrides, seed, device)?;
    let Some(adapter) = &model.adapter else {
        return Ok(checkpoint);
    };
    let wrong = |message: String| LearnError::Config {
        place: "model.adapter".into(),
        message,
    };
    if checkpoint.weights.adapter().is_some() {
        return Err(wrong(format!(
            "{} is an adapter already, and is trained on with its own settings; remove the key, or make a plain checkpoint of it with \
             `ocelli merge`",
            model.path
        )));
    }
    let folder = Path::new(&model.path);
    let base = match std::path::absolute(folder) {
        Ok(path) if folder.is_dir() => path.display().to_string(),
        _ => model.path.clone(),
    };
    checkpoint.weights = adapter
        .attach(&checkpoint.config, &checkpoint.weights, &base, seed, device)
        .map_err(wrong)?;
    Ok(checkpoint)
}

/// Writes a preset's random weights into the run's folder where an adapter is trained over them: it is nothing without them.
fn keep_base(recipe: &Recipe, run: &Run, checkpoint: &mut Checkpoint) -> Result<(), LearnError> {
    let Some(adapter) = checkpoint.weights.adapter().cloned() else {
        return Ok(());
    };
    if Path::new(&recipe.model.path).is_dir() || Preset::find(&recipe.model.path).is_none() {
        return Ok(());
    }
    let folder = run.folder().join("base");
    let folder = std::path::absolute(&folder).map_err(LearnError::file(&folder))?;
    let base = Checkpoint {
        weights: checkpoint.weights.without_adapter(),
        ..checkpoint.clone()
    };
    base.save(&folder, |_| Ok(()))?;
    let adapter = Adapter {
        base: folder.display().to_string(),
        ..adapter.as_ref().clone()
    };
    let weights = std::mem::take(&mut checkpoint.weights);
    checkpoint.weights = weights.with_adapter(adapter);
    Ok(())
}

fn session<'a>(
    recipe: &Recipe,
    mut policy: Policy,
    run: Run,
    observer: &'a mut dyn Observer,
    stop: &'a AtomicBool,
) -> Session<'a> {
    // What is trained is f32, whatever the checkpoint stores.
    let adapter = policy.checkpoint.weights.adapter().cloned();
    let trained = |name: &str| adapter.as_ref().is_none_or(|adapter| adapter.trains(name));
    policy.checkpoint.weights.widen(trained);
    Session {
        policy,
        run,
        observer,
        seed: recipe.run.seed,
        save_steps: recipe.run.save_steps,
        log_episodes_steps: recipe.run.log_episodes_steps,
        stop,
        tokens: 0,
        state: AlgorithmState::default(),
        curriculum: CurriculumState::default(),
    }
}

fn run_stages(
    recipe: &Recipe,
    data: &RecipeData,
    mut session: Session,
    from: Option<(Progress, PathBuf)>,
) -> Result<Finished, LearnError> {
    // A preset's random weights answer nothing, so only given checkpoints are measured before the first stage.
    let starts_from_checkpoint = Path::new(&recipe.model.path).is_dir();
    if from.is_none() && starts_from_checkpoint {
        let start = Moment {
            after: "start",
            stage_index: -1,
        };
        evaluate(&mut session, data, start)?;
    }
    let visits = visits(&recipe.stage);
    let mut end = StageEnd::Done;
    let mut number = from.as_ref().map_or(0, |(progress, _)| progress.stage);
    while let Some(visit) = visits.get(number) {
        let config = &recipe.stage[visit.stage];
        let moment = Moment {
            after: config.kind.name(),
            stage_index: number as i64,
        };
        let resumed = from
            .as_ref()
            .filter(|(progress, _)| progress.stage == number);
        (session.state, session.curriculum) = match resumed {
            Some((_, path)) => (Run::algorithm_state(path)?, Run::curriculum_state(path)?),
            None => Default::default(),
        };
        if let Some(head) = config.head() {
            let device = session.policy.device.clone();
            session.policy.checkpoint.attach_head(head, &device);
        }
        let mut plan = StagePlan {
            index: number,
            config,
            start: resumed.map_or(0, |(progress, _)| progress.step),
            optimizer: optimizer(recipe, config, resumed, &session)?,
        };
        if plan.start < config.exit.max_steps && !session.curriculum.exited {
            let StageData {
                rows,
                reward,
                records,
            } = &data.stages[visit.stage];
            let reference = reference(recipe, &visits, &session, number)?;
            end = match config.kind {
                StageKind::Sft => sft::run(&mut session, &mut plan, rows)?,
                StageKind::Reward => reward::run(&mut session, &mut plan, rows)?,
                StageKind::Dpo => dpo::run(&mut session, &mut plan, rows, reference.as_ref())?,
                StageKind::Grpo => {
                    let graph = reward.as_ref().ok_or(RewardError::NoNodes)?;
                    grpo::run(&mut session, &mut plan, rows, graph, reference.as_ref())?
                }
                StageKind::OffPolicy => {
                    let judged = (records.as_ref(), reward.as_ref());
                    off_policy::run(&mut session, &mut plan, rows, judged, reference.as_ref())?
                }
            };
            if end == StageEnd::Stopped {
                break;
            }
        }
        evaluate(&mut session, data, moment)?;
        number = match session.curriculum.exited {
            true => visit.after_exit,
            false => number + 1,
        };
    }
    let folder = session.run.folder().to_owned();
    Ok(Finished {
        evaluations: read_evaluations(&folder)?,
        checkpoint: Run::latest_checkpoint(&folder)?.map(|(_, path)| path),
        folder,
        end,
    })
}

fn optimizer(
    recipe: &Recipe,
    config: &StageConfig,
    resumed: Option<&(Progress, PathBuf)>,
    session: &Session,
) -> Result<Optimizer, LearnError> {
    let mut optimizer = match resumed {
        None => Optimizer::new(&config.optim),
        Some((progress, path)) => {
            let bytes = Run::optimizer_state(path)?;
            let (steps, device) = (progress.optimizer_steps, &session.policy.device);
            Optimizer::from_bytes(&config.optim, steps, &bytes, device).map_err(|message| {
                LearnError::Resume {
                    path: path.clone(),
                    message,
                }
            })?
        }
    };
    optimizer.training = Training::of(recipe, config);
    Ok(optimizer)
}

/// Whether a checkpoint was written at the end of its stage.
fn is_over(stage: &StageConfig, progress: &Progress, path: &Path) -> Result<bool, LearnError> {
    Ok(progress.step >= stage.exit.max_steps || Run::curriculum_state(path)?.exited)
}

/// The model that a stage's KL penalty pulls to, or that its pairs are compared with: the one it started from. `number` is that of its
/// visit.
fn reference(
    recipe: &Recipe,
    visits: &[Visit],
    session: &Session,
    number: usize,
) -> Result<Option<Network>, LearnError> {
    if !recipe.stage[visits[number].stage].has_reference() {
        return Ok(None);
    }
    let device = &session.policy.device;
    let own = &session.policy.checkpoint;
    let begun = Path::new(&recipe.model.path);
    // With an adapter, the model under it is shared: the reference costs an adapter at most.
    let has_adapter = own.weights.adapter().is_some();
    let over = |folder: &Path| own.under_adapter(folder, device);
    let shared = |weights: Weights| Ok(Some(Network::new(&own.config, &weights)));
    let checkpoint = if number == 0 {
        if has_adapter && recipe.model.adapter.is_some() {
            return shared(own.weights.without_adapter());
        }
        if has_adapter && begun.is_dir() {
            return shared(over(begun)?);
        }
        open_model(recipe, device)?
    } else {
        let path = end_before(recipe, visits, session.run.folder(), number)?;
        let path = path.ok_or_else(|| LearnError::Resume {
            path: session.run.folder().to_owned(),
            message: format!(
                "the checkpoint at the end of stage {number} (step {}) is gone, and stage {} compares its answers with that model's; \
                 put it back, or train anew",
                recipe.stage[visits[number - 1].stage].exit.max_steps,
                number + 1
            ),
        })?;
        if has_adapter {
            return shared(over(&path)?);
        }
        Checkpoint::load(&path, device)?
    };
    Ok(Some(Network::new(&checkpoint.config, &checkpoint.weights)))
}

/// The checkpoint at the end of the visit that came before visit `number`: one that led out of a cycle, else the one right before.
fn end_before(
    recipe: &Recipe,
    visits: &[Visit],
    folder: &Path,
    number: usize,
) -> Result<Option<PathBuf>, LearnError> {
    let mut found: Option<(usize, PathBuf)> = None;
    for (progress, path) in Run::checkpoints(folder)? {
        let Some(visit) = visits
            .get(progress.stage)
            .filter(|_| progress.stage < number)
        else {
            continue;
        };
        let leads_here = progress.stage + 1 == number
            || visit.after_exit == number && Run::curriculum_state(&path)?.exited;
        let first = found
            .as_ref()
            .is_none_or(|(best, _)| progress.stage < *best);
        if leads_here && first && is_over(&recipe.stage[visit.stage], &progress, &path)? {
            found = Some((progress.stage, path));
        }
    }
    Ok(found.map(|(_, path)| path))
}

fn evaluate(session: &mut Session, data: &RecipeData, moment: Moment) -> Result<(), LearnError> {
    let Some((config, data, metrics)) = &data.eval else {
        return Ok(());
    };
    // A resumed run goes on where its evaluation was broken off.
    let done = read_evaluations(session.run.folder())?;
    for (i, &mode) in config.modes.iter().enumerate() {
        if done
            .iter()
            .any(|row| row.stage_index == moment.stage_index && row.mode == mode.name())
        {
            continue;
        }
        session.observer.message(&format!(
            "evaluating {} rows ({}) after {}",
            data.tasks.len(),
            mode.name(),
            moment.after
        ));
        let plan = config.answers(mode, session.seed);
        let episodes = answer(&session.policy, data, metrics, &plan)?;
        // A run that was killed between the two files does this once more.
        let of_moment = |row: &Value| row["stage_index"] == moment.stage_index;
        if i == 0 {
            let rows = gallery(&episodes, data, moment, config.gallery)?;
            session.run.replace("gallery.jsonl", &rows, of_moment)?;
        }
        let rows = summarise(&episodes, moment, &plan);
        session.run.replace("evals.jsonl", &rows, |row| {
            of_moment(row) && row["mode"] == mode.name()
        })?;
    }
    Ok(())
}

/// The evaluations of a run so far.
///
/// # Errors
/// When the file can't be read.
pub fn read_evaluations(folder: &Path) -> Result<Vec<EvalRow>, LearnError> {
    let rows = read_rows(&folder.join("evals.jsonl"))?;
    Ok(rows
        .into_iter()
        .filter_map(|row| serde_json::from_value(row).ok())
        .collect())
}

//! What `squall tune` says: within 80 columns.

use std::path::Path;
use std::time::Duration;

use squall_sim::tune::{
    CounterExample, Ended, Evaluation, Evidence, Finalist, Found, Objective, Progress, Tuning, contrast, kept,
};

use crate::compare::named;
use crate::numbers;
use crate::screen::{Paint, Screen};
use crate::tune::quoted;

/// As many objectives fit on a line.
const COLUMNS: usize = 4;
const CELL: usize = 14;

pub(super) fn head(tuning: &Tuning, screen: &mut Screen) {
    let scenarios = numbers::count(tuning.scenarios.len(), "scenario");
    let knobs = numbers::count(tuning.knobs.len(), "knob");
    screen.say(&format!("{scenarios} × {}, {knobs}", numbers::count(tuning.seeds as usize, "seed")));
    for knob in &tuning.knobs {
        let (first, last) = (knob.levels.first(), knob.levels.last());
        let values = match knob.ordered {
            true => format!("{} to {}", first.map_or("", |it| it), last.map_or("", |it| it)),
            false => knob.levels.join(", "),
        };
        screen.say(&format!("  {}: {values}", knob.name));
    }
    for start in &tuning.start {
        let text = match start.differs.is_empty() {
            true => "begins there too".to_owned(),
            false => format!("begins near it too; no knob reaches its {}", start.differs.join("; ")),
        };
        named(&format!("  {}", start.name), 12, &format!(" {text}"), screen);
    }
    for (numbers, what) in [
        (&tuning.no_worse_than, "on each scenario no worse than"),
        (&tuning.undominated_by, "on each scenario not dominated by"),
    ] {
        if !numbers.is_empty() {
            let names: Vec<&str> = numbers.iter().map(|at| tuning.against[*at].name.as_str()).collect();
            screen.say(&format!("  {what} {}", names.join(", ")));
        }
    }
}

pub(super) fn round(tuning: &Tuning, progress: &Progress<'_>, best: &Evaluation, left: Duration) -> String {
    let means: Vec<String> =
        tuning.objectives.iter().zip(&best.means).take(COLUMNS).map(|(of, mean)| value(of, *mean)).collect();
    let kept = if best.score.is_feasible() { "" } else { ", breaks constraints" };
    let still = if progress.improved { "" } else { ", no better" };
    let left = match left.as_secs() {
        0..60 => format!("{} s", left.as_secs()),
        seconds => format!("{} min", seconds.div_ceil(60)),
    };
    let (round, tried) = (progress.round, progress.evaluations.len());
    format!("round {round}: {tried} tried, best {}{kept}{still}; at most {left} left", means.join(" "))
}

/// A number of an objective, short.
pub(crate) fn value(objective: &Objective, value: f64) -> String {
    if objective.is_span {
        // A journal may say anything, and a sum of spans may be endless.
        return Duration::try_from_secs_f64(value.max(0.0)).map_or_else(|_| format!("{value} s"), numbers::span);
    }
    if value.abs() >= 1000.0 { format!("{value:.0}") } else { format!("{value:.4}") }
}

/// The same, signed, for differences.
fn signed(objective: &Objective, difference: f64) -> String {
    let sign = if difference < 0.0 { "-" } else { "+" };
    format!("{sign}{}", value(objective, difference.abs()))
}

pub(super) fn show(tuning: &Tuning, found: &Found, screen: &mut Screen) {
    let why = match found.ended {
        Ended::Evaluations => "as many as were asked for",
        Ended::Patience => "nothing got better any more",
        Ended::Told => "the time was up",
        Ended::Exhausted => "there are no others",
    };
    screen.say(&format!("\n{} tried: {why}", numbers::count(found.evaluations.len(), "candidate")));
    for (scenario, reason) in &found.full_only {
        screen.say(&format!("{scenario} was searched in the full world: {reason}"));
    }
    let recommended = &found.finalists[found.recommended];
    screen.say(&screen.paint(Paint::Strong, "\nIn the full world, on the seeds of the search (* is recommended)"));
    let names: Vec<String> = tuning.objectives.iter().take(COLUMNS).map(heading).collect();
    let titles: String = names.iter().map(|name| format!("{name:>CELL$}")).collect();
    screen.say(&format!("{:<12}{titles}  constraints", ""));
    // What was cut in a title is there in full.
    for objective in tuning.objectives.iter().filter(|objective| heading(objective) != objective.that) {
        let line = format!("  {} is {}", heading(objective), objective.that);
        screen.say(&screen.paint(Paint::Faint, &line));
    }
    for (at, finalist) in found.finalists.iter().enumerate() {
        row(tuning, finalist, at == found.recommended, screen);
    }
    for rival in &found.rivals {
        row(tuning, rival, false, screen);
    }
    if found.recommended != 0 {
        differences(tuning, &found.finalists[0], recommended, screen);
    }
    settings(tuning, recommended, screen);
    sensitivity(tuning, found, screen);
}

/// An objective's name: its expression, if that is short.
fn heading(objective: &Objective) -> String {
    let text = &objective.that;
    if text.chars().count() < CELL {
        text.clone()
    } else {
        format!("{}…", text.chars().take(CELL - 2).collect::<String>())
    }
}

fn row(tuning: &Tuning, finalist: &Finalist, recommended: bool, screen: &mut Screen) {
    let mark = if recommended { "*" } else { " " };
    let name = format!("{mark} {}", finalist.name);
    if let Some(why) = &finalist.refused {
        named(&name, 12, &format!(" {why}"), screen);
        return;
    }
    let cells: String = tuning
        .objectives
        .iter()
        .enumerate()
        .take(COLUMNS)
        .map(|(at, objective)| {
            let mean = evidence(&finalist.searched, at, objective).mean;
            format!("{:>CELL$}", value(objective, mean))
        })
        .collect();
    let kept = match finalist.score.is_feasible() {
        true => screen.paint(Paint::Good, "kept"),
        false => screen.paint(Paint::Bad, &format!("broken {:.2}", finalist.score.violation)),
    };
    named(&name, 12, &format!("{cells}  {kept}"), screen);
}

/// An objective of a finalist.
pub(super) fn evidence(part: &[Vec<Vec<f64>>], at: usize, objective: &Objective) -> Evidence {
    Evidence::of(&Finalist::values_of(part, at), objective.across, objective.maximize)
}

fn differences(tuning: &Tuning, current: &Finalist, recommended: &Finalist, screen: &mut Screen) {
    let title = format!("\n{} less current (mean ± 99 %, paired)", recommended.name);
    screen.say(&screen.paint(Paint::Strong, &title));
    let others = if recommended.other_scenarios.is_empty() { "" } else { "other scenarios" };
    screen.say(format!("{:<14}{:>22}{:>22}{others:>22}", "", "seeds searched", "other seeds").trim_end());
    for (at, objective) in tuning.objectives.iter().enumerate() {
        let cell = |ours: &[Vec<Vec<f64>>], theirs: &[Vec<Vec<f64>>]| {
            if ours.is_empty() {
                return String::new();
            }
            let (ours, theirs) = (Finalist::values_of(ours, at), Finalist::values_of(theirs, at));
            let found = contrast(&ours, &theirs, objective.across, objective.maximize);
            let text =
                format!("{} ± {}", signed(objective, found.mean), value(objective, found.half_width_99.min(1e9)));
            format!("{text:>22}")
        };
        let line = format!(
            "{:<14}{}{}{}",
            heading(objective),
            cell(&recommended.searched, &current.searched),
            cell(&recommended.other_seeds, &current.other_seeds),
            cell(&recommended.other_scenarios, &current.other_scenarios),
        );
        screen.say(line.trim_end());
    }
}

fn settings(tuning: &Tuning, recommended: &Finalist, screen: &mut Screen) {
    screen.say(&screen.paint(Paint::Strong, "\nSettings"));
    let now = tuning.current();
    let width = tuning.knobs.iter().map(|knob| knob.name.chars().count()).max().unwrap_or(0).min(40);
    for (at, knob) in tuning.knobs.iter().enumerate() {
        let before = now[at].as_deref().unwrap_or("(default)");
        let after = recommended.values[at].as_deref().unwrap_or(before);
        screen.say(&format!("  {:<width$}  {before:>12} → {after}", knob.name));
    }
}

/// The strongest effect of each knob that can be told from noise.
fn sensitivity(tuning: &Tuning, found: &Found, screen: &mut Screen) {
    screen.say(&screen.paint(Paint::Strong, "\nMoved alone from there, on the fast model"));
    let recommended = &found.finalists[found.recommended];
    for (at, knob) in tuning.knobs.iter().enumerate() {
        let mut most: Option<(f64, String)> = None;
        for moved in found.moved.iter().filter(|moved| moved.knob == at) {
            for (nth, (objective, effect)) in tuning.objectives.iter().zip(&moved.contrasts).enumerate() {
                let base = evidence(&recommended.searched, nth, objective).mean.abs().max(1e-9);
                let strength = effect.mean.abs() / base;
                if effect.mean.abs() <= effect.half_width_99
                    || most.as_ref().is_some_and(|(known, _)| *known >= strength)
                {
                    continue;
                }
                let by = format!("{} ± {}", signed(objective, effect.mean), value(objective, effect.half_width_99));
                most = Some((strength, format!("at {}: {} {by}", moved.value, heading(objective))));
            }
        }
        let text = most.map_or_else(|| "nothing that can be told from noise".to_owned(), |(_, text)| text);
        screen.say(&format!("  {}: {text}", knob.name));
    }
}

pub(super) fn tail(out: &Path, tuning: &Tuning, found: &Found, examples: &[CounterExample], screen: &mut Screen) {
    for example in examples {
        screen.say(&screen.paint(Paint::Strong, &format!("\nWhat {} does", example.name)));
        let fails = example.fails.join(", ");
        screen.say(&format!("  on {}, seed {}, it fails {fails}", example.scenario, example.seed));
        let file = out.join("counter-examples").join(&example.name).join(&example.file);
        screen.say_command(&format!("  squall replay {} --seed {}", quoted(&file.to_string_lossy()), example.seed));
    }
    let recommended = &found.finalists[found.recommended];
    let what = match (found.recommended, recommended.score.is_feasible()) {
        (0, true) => "keep what is there: nothing is better".to_owned(),
        (_, true) => format!("deploy {}", out.join("recommended.yaml").display()),
        (_, false) => {
            let broken = kept(tuning, recommended, &found.rivals).into_iter().filter(|(_, keeps)| !keeps);
            let broken = broken.map(|(constraint, _)| constraint).collect::<Vec<_>>().join(", ");
            format!("no candidate keeps every constraint; {} breaks them least: {broken}", recommended.name)
        }
    };
    screen.say(&format!("\n{what}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_without_an_end_is_shown_too() {
        let [_, p99, ..] = &Objective::compared()[..] else { panic!("p99 is compared") };
        for (seconds, want) in
            [(0.02, "20.0 ms"), (-1.0, "0 s"), (f64::INFINITY, "inf s"), (1e30, "1000000000000000000000000000000 s")]
        {
            assert_eq!(value(p99, seconds), want);
        }
    }
}

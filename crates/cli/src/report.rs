//! `squall test --html`: one page about all runs of a campaign.
//!
//! The page's tables and pictures are there without its script, which adds zoom, values under the pointer and the graph over
//! time. Nothing in it depends on when or where it was made.

mod data;
mod html;
pub(crate) use html::escape;
mod page;
mod svg;
mod waterfall;

use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use squall_sim::timeline::{Detail, Observed, observe};
use squall_sim::{Campaign, Case, RunOptions, Scenario, by_scenario};

use crate::explain;
use crate::files::Pending;
use crate::results::MadeBy;
use crate::threads;

/// No page is larger, in bytes.
const SIZE_MAX: usize = 5_000_000;

/// A page in the making, begun before the first run so that a wrong path is known at once.
pub(crate) struct Report(Pending);

/// What the page says of one scenario.
struct Chapter<'c> {
    scenario: &'c Scenario,
    /// Its runs, in order of seeds.
    cases: &'c [Case],
    /// The command that shows the run in `observed` again.
    replay: String,
    /// The run that is shown in detail: the first that failed, else the one with the lowest success rate. `None`: none came to an end.
    observed: Option<Observed>,
}

impl Report {
    /// # Errors
    /// Why no file can be written at `path`.
    pub(crate) fn start(path: &Path) -> Result<Self, String> {
        Pending::start(path).map(Self)
    }

    /// Runs one seed of each scenario again, to see what it looked like, and writes the page. `replay` gives the command for a
    /// scenario, by its number, and a case of it.
    ///
    /// # Errors
    /// What the machine says.
    pub(crate) fn finish(
        mut self,
        campaign: &Campaign,
        cases: &[Case],
        jobs: usize,
        replay: impl Fn(usize, &Case) -> String,
    ) -> Result<(), String> {
        let by = MadeBy { engine: campaign.engine, model: campaign.model };
        let of_one: Vec<&[Case]> = by_scenario(cases).collect();
        // A part of a campaign may have no run of a scenario.
        let of = |cases: &[Case]| campaign.scenarios.iter().position(|it| it.name.value == cases[0].scenario);
        let scenarios: Vec<usize> = of_one.iter().filter_map(|cases| of(cases)).collect();
        let found: Mutex<Vec<Option<Observed>>> = Mutex::new(of_one.iter().map(|_| None).collect());
        let detail = detail(of_one.len());
        threads::spread(jobs, of_one.len(), &|number| {
            let seen =
                shown(of_one[number]).and_then(|case| see(&campaign.scenarios[scenarios[number]], case, by, detail));
            found.lock().unwrap_or_else(PoisonError::into_inner)[number] = seen;
        });
        let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        let chapters = found.into_iter().enumerate().map(|(number, observed)| {
            let case = shown(of_one[number]).or(of_one[number].first());
            Chapter {
                scenario: &campaign.scenarios[scenarios[number]],
                cases: of_one[number],
                replay: case.map(|case| replay(scenarios[number], case)).unwrap_or_default(),
                observed,
            }
        });
        let mut chapters: Vec<Chapter<'_>> = chapters.collect();
        let text = fitting(&mut chapters, campaign, by);
        self.0.write_all(text.as_bytes()).map_err(|error| format!("cannot write the page: {error}"))?;
        self.0.finish()
    }
}

/// How fine the detail of each of so many scenarios is.
fn detail(scenarios: usize) -> Detail {
    match scenarios {
        0..=12 => Detail { bins_max: 240, stories_max: 10 },
        13..=40 => Detail { bins_max: 120, stories_max: 5 },
        _ => Detail { bins_max: 60, stories_max: 3 },
    }
}

/// The case that teaches most.
fn shown(cases: &[Case]) -> Option<&Case> {
    let ended = || cases.iter().filter(|case| case.result.is_ok());
    let failed = ended().find(|case| explain::failed(case));
    failed.or_else(|| {
        let rate = |case: &Case| case.result.as_ref().map_or(1.0, |outcome| outcome.summary.success_rate());
        ended().min_by(|one, other| rate(one).total_cmp(&rate(other)))
    })
}

/// The run of `case` again, and what it looked like. `None`: it is not the same run again, which `--verify` explains.
fn see(scenario: &Arc<Scenario>, case: &Case, by: MadeBy, detail: Detail) -> Option<Observed> {
    let options = RunOptions { engine: by.engine, model: by.model, keep_history: true };
    let seen = observe(scenario, case.seed, options, detail).ok()?;
    let first = case.result.as_ref().ok()?;
    (seen.outcome.digest == first.digest).then_some(seen)
}

/// How much of what is known is on the page.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Seeds of each scenario, those that failed first.
    seeds_max: usize,
    /// Scenarios, those that failed first.
    chapters_max: usize,
}

/// About so many runs are listed on a page that would be too large otherwise.
const RUNS_LISTED: usize = 2000;

/// The page; if it is too large, it loses what teaches least, and says so: seeds that are like others, then the details of scenarios, of
/// the last that passed first, then more seeds, then scenarios that passed.
fn fitting(chapters: &mut [Chapter<'_>], campaign: &Campaign, by: MadeBy) -> String {
    let mut limits = Limits { seeds_max: usize::MAX, chapters_max: usize::MAX };
    loop {
        let text = page::render(chapters, campaign, by, limits);
        if text.len() <= SIZE_MAX {
            return text;
        }
        let seeds = (RUNS_LISTED / chapters.len().max(1)).max(10);
        let passed = |chapter: &Chapter<'_>| !chapter.cases.iter().any(explain::failed);
        let shown = |chapter: &Chapter<'_>| chapter.observed.is_some();
        let last = chapters.iter().rposition(|chapter| shown(chapter) && passed(chapter));
        if limits.seeds_max > seeds && chapters.iter().any(|chapter| chapter.cases.len() > seeds) {
            limits.seeds_max = seeds;
        } else if let Some(last) = last.or_else(|| chapters.iter().rposition(shown)) {
            // Some at a time, so that a page of hundreds is not made hundreds of times.
            let all_passed = passed(&chapters[last]);
            let ours = chapters[..=last].iter_mut().rev();
            let ours = ours.filter(|chapter| shown(chapter) && passed(chapter) == all_passed);
            ours.take(1 + (text.len() - SIZE_MAX) / 200_000).for_each(|chapter| chapter.observed = None);
        } else if limits.seeds_max > 1 {
            limits.seeds_max = limits.seeds_max.min(seeds) / 2;
        } else if limits.chapters_max > 1 {
            limits.chapters_max = limits.chapters_max.min(chapters.len()) / 2;
        } else {
            return text;
        }
    }
}

impl Chapter<'_> {
    /// At most so many of its cases, in their order: the one that is shown, those that failed, those with the lowest success.
    fn listed(&self, most: usize) -> Vec<&Case> {
        let mut cases: Vec<(usize, &Case)> = self.cases.iter().enumerate().collect();
        if cases.len() > most {
            let shown = self.observed.as_ref().map(|seen| seen.outcome.seed);
            let success = |case: &Case| case.result.as_ref().map_or(0.0, |outcome| outcome.summary.success_rate());
            cases.sort_by(|(_, one), (_, other)| {
                let rank = |case: &Case| (shown != Some(case.seed), !explain::failed(case));
                rank(one).cmp(&rank(other)).then(success(one).total_cmp(&success(other)))
            });
            cases.truncate(most);
            cases.sort_by_key(|(number, _)| *number);
        }
        cases.into_iter().map(|(_, case)| case).collect()
    }
}

#[cfg(test)]
mod tests;

//! A comparison as a Markdown page.

use std::io::{self, Write};

use squall_sim::tune::{Better, Compared, Comparison, Objective};

use super::pairs;
use crate::tune::value;

/// Writes the page; `command` makes it again.
pub(super) fn write(
    out: &mut dyn Write,
    comparison: &Comparison,
    compared: &Compared,
    command: &str,
) -> io::Result<()> {
    let seeds = comparison.seeds.len();
    writeln!(out, "# Policies compared\n\nWritten by `{command}`.\n")?;
    writeln!(
        out,
        "Means over {seeds} seeds, ± the half-width of their 99 % interval. In pairs, one is better where it is by the 99 % interval \
         of the difference, paired by seed (and by more than a `--margin`, where the command has one); it dominates a scenario if it is \
         better in something and worse in nothing.\n"
    )?;
    for (at, scenario) in comparison.scenarios.iter().enumerate() {
        writeln!(out, "## {}\n", scenario.name.value)?;
        row(out, "policy", compared.measures.iter().map(|measure| measure.that.clone()))?;
        row(out, "---", compared.measures.iter().map(|_| "---".to_owned()))?;
        for (policy, rival) in comparison.policies.iter().enumerate() {
            let cell = |(nth, measure): (usize, &Objective)| match compared.evidence(policy, at, nth) {
                Some(found) => format!("{} ± {}", value(measure, found.mean), value(measure, found.half_width_99)),
                None => "refused".to_owned(),
            };
            row(out, &rival.name, compared.measures.iter().enumerate().map(cell))?;
        }
        writeln!(out)?;
    }
    writeln!(out, "## Pairs\n")?;
    row(out, "pair", ["better on", "worse on", "neither on", "worse in"].map(str::to_owned).into_iter())?;
    row(out, "---", ["---"; 4].map(str::to_owned).into_iter())?;
    for pair in pairs(comparison) {
        let all = || 0..comparison.scenarios.len();
        let count = |which: Better| all().filter(|at| compared.dominates(pair, *at) == which).count().to_string();
        let worse = |at: usize| {
            let measures = compared.measures.iter().enumerate();
            let found: Vec<&str> = measures
                .filter(|(nth, _)| compared.better(pair, at, *nth) == Better::Second)
                .map(|(_, measure)| measure.that.as_str())
                .collect();
            (!found.is_empty()).then(|| format!("{}: {}", comparison.scenarios[at].name.value, found.join(", ")))
        };
        let worse: Vec<String> = all().filter_map(worse).collect();
        let name = format!("{} against {}", comparison.policies[pair.0].name, comparison.policies[pair.1].name);
        let cells = [count(Better::First), count(Better::Second), count(Better::Neither), worse.join("; ")];
        row(out, &name, cells.into_iter())?;
    }
    Ok(())
}

fn row(out: &mut dyn Write, first: &str, cells: impl Iterator<Item = String>) -> io::Result<()> {
    write!(out, "| {} |", first.replace('|', "\\|"))?;
    for cell in cells {
        write!(out, " {} |", cell.replace('|', "\\|"))?;
    }
    writeln!(out)
}

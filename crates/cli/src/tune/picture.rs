//! The Pareto set as a picture: no script, and nothing from elsewhere.

use std::fmt::Write as _;

use squall_sim::tune::{Evaluation, Found, Tuning};

use super::report::{cells, columns};
use super::tables::value;
use crate::report::escape;

const WIDTH: f64 = 760.0;
const PANEL: f64 = 340.0;
const LEGEND: f64 = 30.0;
const LEFT: f64 = 96.0;
const RIGHT: f64 = 24.0;
const BOTTOM: f64 = 56.0;
const TOP: f64 = 14.0;
/// Between the frame and the outermost points.
const ROOM: f64 = 20.0;
/// Steps between the labels of an axis.
const STEPS: u32 = 4;

/// Colours that are told apart by those who see red and green alike; the shapes say the same.
const STYLE: &str = "\
svg{background:#fff}text{font:12px system-ui,sans-serif;fill:#111}.grid{stroke:#ddd}\
.tried{fill:#b9b9b9}.breaks{fill:none;stroke:#b9b9b9;stroke-width:1.5}.front{fill:#1696d2;stroke:#fff}\
.current{fill:#111}.recommended{fill:#b5123c;stroke:#fff}";

/// What a mark stands for, most important last, so that it is drawn on top.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Breaks,
    Tried,
    Front,
    Current,
    Recommended,
}

const KINDS: [(Kind, &str); 5] = [
    (Kind::Recommended, "recommended"),
    (Kind::Current, "current"),
    (Kind::Front, "front"),
    (Kind::Tried, "behind the front"),
    (Kind::Breaks, "breaks a constraint"),
];

/// The values of a point, and what it is called.
struct Point<'f> {
    number: usize,
    kind: Kind,
    one: &'f Evaluation,
}

/// What the search measured on the fast model, on all its seeds: the first objective against each other one. A single objective
/// is drawn over the search.
pub(super) fn pareto(tuning: &Tuning, found: &Found) -> String {
    let points = points(tuning, found);
    let others = 1..tuning.objectives.len();
    let panels = others.len().max(1);
    let height = LEGEND + PANEL * panels as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"What was tried: each \
         point is a candidate on the fast model. pareto.csv and evaluations.csv say the same.\"><style>{STYLE}</style>"
    );
    for (nth, (kind, name)) in KINDS.into_iter().enumerate() {
        let x = LEFT + 124.0 * nth as f64;
        mark(kind, x, 16.0, &mut svg);
        let _ = write!(svg, "<text x=\"{:.1}\" y=\"20\">{name}</text>", x + 10.0);
    }
    if others.is_empty() {
        panel(tuning, &points, None, LEGEND, &mut svg);
    }
    for (nth, other) in others.enumerate() {
        panel(tuning, &points, Some(other), LEGEND + PANEL * nth as f64, &mut svg);
    }
    svg.push_str("</svg>\n");
    svg
}

fn points<'f>(tuning: &Tuning, found: &'f Found) -> Vec<Point<'f>> {
    let recommended = found.finalists[found.recommended].evaluation;
    let seen = |one: &Evaluation| one.refused.is_none() && one.means.len() == tuning.objectives.len();
    let full = found.evaluations.first().map_or(0, |current| current.seeds);
    let mut points: Vec<Point<'_>> = found
        .evaluations
        .iter()
        .enumerate()
        // On fewer seeds means are of other runs.
        .filter(|(_, one)| seen(one) && one.seeds == full)
        .map(|(number, one)| {
            let kind = if recommended == Some(number) {
                Kind::Recommended
            } else if number == 0 {
                Kind::Current
            } else if found.front.contains(&number) {
                Kind::Front
            } else if one.score.is_feasible() {
                Kind::Tried
            } else {
                Kind::Breaks
            };
            Point { number, kind, one }
        })
        .collect();
    points.sort_by_key(|point| (point.kind, point.number));
    points
}

/// From the least to the most; what has no end is left out.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low > high {
        return (0.0, 1.0);
    }
    if high > low { (low, high) } else { (low, low + low.abs().max(1e-6) * 0.1) }
}

/// The first objective upwards, another one (or the number of the candidate) to the right.
fn panel(tuning: &Tuning, points: &[Point<'_>], across: Option<usize>, above: f64, svg: &mut String) {
    let at = |point: &Point<'_>| across.map_or(point.number as f64, |other| point.one.means[other]);
    let (x_low, x_high) = range(points.iter().map(at));
    let (y_low, y_high) = range(points.iter().map(|point| point.one.means[0]));
    let (top, bottom) = (above + TOP, above + PANEL - BOTTOM);
    let x = |value: f64| LEFT + ROOM + (value - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT - 2.0 * ROOM);
    let y = |value: f64| bottom - ROOM - (value - y_low) / (y_high - y_low) * (bottom - top - 2.0 * ROOM);
    let up = &tuning.objectives[0];
    for step in 0..=STEPS {
        let share = f64::from(step) / f64::from(STEPS);
        let (right, high) = (x_low + (x_high - x_low) * share, y_low + (y_high - y_low) * share);
        let label = across.map_or_else(|| format!("{right:.0}"), |other| value(&tuning.objectives[other], right));
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{:.1}M{x:.1} {top:.1}V{bottom:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" \
             text-anchor=\"end\">{}</text><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y(high) + 4.0,
            value(up, high),
            bottom + 18.0,
            x = x(right),
            y = y(high),
        );
    }
    let name = across.map_or("candidate".to_owned(), |other| title(tuning, other));
    let _ = write!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text><text transform=\"translate(16 {:.1}) rotate(-90)\" \
         text-anchor=\"middle\">{}</text>",
        LEFT + (WIDTH - LEFT - RIGHT) / 2.0,
        bottom + 38.0,
        escape(&name),
        f64::midpoint(top, bottom),
        escape(&title(tuning, 0))
    );
    for point in points.iter().filter(|point| at(point).is_finite() && point.one.means[0].is_finite()) {
        let said_of = |cell: String| if cell.is_empty() { "(default)".to_owned() } else { cell };
        let cells = cells(tuning, &point.one.means, &point.one.values).into_iter().map(said_of);
        let cells: Vec<String> =
            columns(tuning).iter().zip(cells).map(|(name, cell)| format!("{name}: {cell}")).collect();
        let said = format!("candidate {}\n{}", point.number, cells.join("\n"));
        let _ = write!(svg, "<g><title>{}</title>", escape(&said));
        mark(point.kind, x(at(point)), y(point.one.means[0]), svg);
        svg.push_str("</g>");
    }
}

fn title(tuning: &Tuning, at: usize) -> String {
    let objective = &tuning.objectives[at];
    format!("{} ({} is better)", objective.that, if objective.maximize { "more" } else { "less" })
}

fn mark(kind: Kind, x: f64, y: f64, svg: &mut String) {
    let _ = match kind {
        Kind::Breaks => write!(svg, "<circle class=\"breaks\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"),
        Kind::Tried => write!(svg, "<circle class=\"tried\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"),
        Kind::Front => write!(svg, "<circle class=\"front\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"/>"),
        Kind::Current => {
            write!(
                svg,
                "<rect class=\"current\" x=\"{:.1}\" y=\"{:.1}\" width=\"10\" height=\"10\"/>",
                x - 5.0,
                y - 5.0
            )
        }
        Kind::Recommended => {
            write!(svg, "<path class=\"recommended\" d=\"M{x:.1} {:.1}l8 8l-8 8l-8 -8z\"/>", y - 8.0)
        }
    };
}

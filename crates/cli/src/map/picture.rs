//! A map as a picture, and as a page around it: no script, and nothing from elsewhere.

use std::fmt::Write as _;

use squall_sim::map::{BRACKET, Found, Plan, State};

use super::{mark, short};
use crate::report::escape;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 520.0;
const LEFT: f64 = 84.0;
const BOTTOM: f64 = 56.0;
const TOP: f64 = 12.0;
const RIGHT: f64 = 16.0;
/// No more rows and columns than this have a mark and a label each.
const ROOM: usize = 40;

const STATES: [State; 4] = [State::Holds, State::Undecided, State::Metastable, State::Overloaded];

/// Colours that are told apart by those who see red and green alike; the marks say the same.
const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:currentColor}\
.holds{fill:#cfe8f3}.undecided{fill:#fdbf11}.metastable{fill:#b5123c}.overloaded{fill:#5c5859}\
.mark{text-anchor:middle;font:11px ui-monospace,monospace;fill:#111}\
.metastable+.mark,.overloaded+.mark{fill:#fff}\
.edge{stroke:#000;stroke-width:2.5;fill:none}.halo{stroke:#fff;stroke-width:5;fill:none}";

pub(super) fn svg(plan: &Plan, found: &Found) -> String {
    let (columns, rows) = (plan.x.values().len(), plan.y.values().len());
    let (wide, high) = ((WIDTH - LEFT - RIGHT) / columns as f64, (HEIGHT - TOP - BOTTOM) / rows as f64);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\
         <style>{STYLE}</style>",
        escape(&format!(
            "Map of {}: {} from left to right, {} from bottom to top. The table below says the same.",
            plan.scenario.name.value,
            plan.x.name(),
            plan.y.name()
        ))
    );
    for (row, cells) in found.cells.iter().enumerate() {
        let top = HEIGHT - BOTTOM - high * (row + 1) as f64;
        for (column, cell) in cells.iter().enumerate() {
            let left = LEFT + wide * column as f64;
            let (word, success) = (cell.state.word(), cell.success[0] * 100.0);
            let _ = write!(
                svg,
                "<g><title>{}, {}: {word}, {success:.2} % succeed at the end</title><rect class=\"{word}\" x=\"{left:.1}\" \
                 y=\"{top:.1}\" width=\"{wide:.2}\" height=\"{high:.2}\"/>",
                short(cell.at[0]),
                short(cell.at[1])
            );
            if columns <= ROOM && rows <= ROOM {
                let (x, y) = (left + wide / 2.0, top + high / 2.0 + 4.0);
                let _ = write!(svg, "<text class=\"mark\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", mark(cell.state));
            }
            svg.push_str("</g>");
        }
    }
    edge(plan, found, wide, high, &mut svg);
    labels(plan, wide, high, &mut svg);
    svg.push_str("</svg>");
    svg
}

/// The boundary, through the middle of each row's bracket.
fn edge(plan: &Plan, found: &Found, wide: f64, high: f64, svg: &mut String) {
    let values = plan.x.values();
    // Between the middles of two columns a value is where it is between theirs.
    let place = |value: f64| {
        let after = values.iter().position(|known| *known > value).unwrap_or(values.len() - 1).max(1);
        let (low, up) = (values[after - 1], values[after]);
        LEFT + wide * (after as f64 - 0.5 + (value - low) / (up - low))
    };
    let mut path = String::new();
    let mut goes_on = false;
    for (row, boundary) in found.boundary.iter().enumerate() {
        let Some([low, up]) = boundary.between else {
            goes_on = false;
            continue;
        };
        let (x, bottom) = (place(f64::midpoint(low, up)), HEIGHT - BOTTOM - high * row as f64);
        let _ = write!(path, "{}{x:.1} {bottom:.1}V{:.1}", if goes_on { "L" } else { "M" }, bottom - high);
        goes_on = true;
    }
    if !path.is_empty() {
        let _ = write!(svg, "<path class=\"halo\" d=\"{path}\"/><path class=\"edge\" d=\"{path}\"/>");
    }
}

fn labels(plan: &Plan, wide: f64, high: f64, svg: &mut String) {
    let (columns, rows) = (plan.x.values(), plan.y.values());
    let bottom = HEIGHT - BOTTOM;
    for (nth, value) in columns.iter().enumerate().step_by(columns.len().div_ceil(8)) {
        let x = LEFT + wide * (nth as f64 + 0.5);
        let _ = write!(
            svg,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 18.0,
            short(*value)
        );
    }
    for (nth, value) in rows.iter().enumerate().step_by(rows.len().div_ceil(ROOM / 2)) {
        let y = bottom - high * (nth as f64 + 0.5) + 4.0;
        let _ = write!(svg, "<text x=\"{:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{}</text>", LEFT - 8.0, short(*value));
    }
    let middle = LEFT + (WIDTH - LEFT - RIGHT) / 2.0;
    let _ = write!(
        svg,
        "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        HEIGHT - 12.0,
        escape(&plan.x.name())
    );
    let _ = write!(
        svg,
        "<text transform=\"translate(16 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        TOP + (bottom - TOP) / 2.0,
        escape(&plan.y.name())
    );
}

/// What a state means.
fn meaning(state: State) -> &'static str {
    match state {
        State::Holds => "comes back when the faults are over",
        State::Undecided => "comes back on some seeds only",
        State::Metastable => "does not come back, though it holds without the faults",
        State::Overloaded => "does not hold even without the faults",
    }
}

pub(super) fn page(plan: &Plan, found: &Found, svg: &str, again: &str) -> String {
    let name = escape(&plan.scenario.name.value);
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{name}: map</title><style>:root{{color-scheme:light dark}}body{{font:15px/1.5 system-ui,sans-serif;max-width:60rem;\
         margin:2rem auto;padding:0 1rem}}svg{{width:100%;height:auto}}table{{border-collapse:collapse}}th,td{{text-align:right;\
         padding:.2rem .8rem;border-bottom:1px solid #8885}}td.text,th.text{{text-align:left}}code{{overflow-wrap:anywhere}}\
         pre{{overflow-x:auto}}@media print{{body{{margin:0}}}}</style></head><body><main><h1>{name}</h1>"
    );
    if !plan.scenario.question.is_empty() {
        let _ = write!(page, "<p>{}</p>", escape(&plan.scenario.question));
    }
    let count = |state: State| found.cells.iter().flatten().filter(|cell| cell.state == state).count();
    page.push_str("<ul>");
    for state in STATES {
        let _ = write!(
            page,
            "<li><code>{}</code> {}: {}, {} cells</li>",
            mark(state),
            state.word(),
            meaning(state),
            count(state)
        );
    }
    let _ = write!(
        page,
        "</ul>{svg}<h2>Where each row stops holding</h2><p>To {} %, by bisection.</p><table><thead><tr><th>{}</th><th>holds at \
         </th><th>not at</th><th class=\"text\">beyond</th></tr></thead><tbody>",
        BRACKET * 100.0,
        escape(&plan.y.name())
    );
    for row in found.boundary.iter().rev() {
        let end = |nth: usize| row.between.map_or_else(|| "–".to_owned(), |between| between[nth].to_string());
        let more = if row.holds_again { ", and holds again further right" } else { "" };
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"text\">{}{more}</td></tr>",
            row.y,
            end(0),
            end(1),
            row.beyond.word()
        );
    }
    let _ = write!(
        page,
        "</tbody></table><h2>The same again</h2><pre><code>{}</code></pre></main></body></html>",
        escape(again)
    );
    page
}

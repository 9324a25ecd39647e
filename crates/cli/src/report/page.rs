//! The page as text.

use std::fmt::Write as _;

use serde_json::{Value, json};
use squall_sim::timeline::{Observed, Timeline};
use squall_sim::{Campaign, Case, EngineKind, Model, Outcome, rows};

use super::html::escape;
use super::{Chapter, Limits, data, svg, waterfall};
use crate::explain;
use crate::numbers;
use crate::results::{MadeBy, verdict};

const CSS: &str = include_str!("../../assets/report.css");
const SCRIPT: &str = include_str!("../../assets/report.js");
const CHARTS: &str = include_str!("../../assets/uPlot.iife.min.js");
const CHARTS_CSS: &str = include_str!("../../assets/uPlot.min.css");
const CHARTS_LICENSE: &str = include_str!("../../assets/uPlot-LICENSE.txt");

/// All of it.
pub(super) fn render(chapters: &[Chapter<'_>], campaign: &Campaign, by: MadeBy, limits: Limits) -> String {
    let failed = chapters.iter().filter(|chapter| failed(chapter)).count();
    let title = match failed {
        0 => format!("{} passed", numbers::count(chapters.len(), "scenario")),
        _ => format!("{failed} of {} failed", numbers::count(chapters.len(), "scenario")),
    };
    let world = match (by.model, by.engine) {
        (Model::Fast, _) => "fast model".to_owned(),
        (Model::Full, EngineKind::Event | EngineKind::Turmoil | EngineKind::Real) => {
            format!("{} model, {} engine", by.model.name(), by.engine.name())
        }
    };
    // No address is ever asked, whatever a scenario's file says.
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\"><meta name=\"color-scheme\" content=\"light dark\">\
         <link rel=\"icon\" href=\"data:,\"><title>Squall: {title}</title>\n<style>\n/*\n{CHARTS_LICENSE}\n*/\n{CHARTS_CSS}\n{CSS}</style></head>\n<body>\
         <a class=\"skip\" href=\"#main\">Skip to the results</a>\n<header><p class=\"brand\">Squall</p><h1><span class=\"badge {}\">{}</span> \
         {title}</h1><p class=\"faint\">{} × {}, {world}; version {}</p></header>\n<main id=\"main\">",
        if failed > 0 { "fail" } else { "pass" },
        if failed > 0 { "FAIL" } else { "PASS" },
        numbers::count(chapters.len(), "scenario"),
        numbers::count(campaign.seeds.len(), "seed"),
        env!("CARGO_PKG_VERSION"),
    );
    // What failed is what people came for.
    let mut order: Vec<usize> = (0..chapters.len()).collect();
    order.sort_by_key(|number| (!self::failed(&chapters[*number]), *number));
    order.truncate(limits.chapters_max);
    page.push_str(&overview(chapters, &order));
    for number in &order {
        page.push_str(&chapter(*number, &chapters[*number], chapters.len() == 1, limits.seeds_max));
    }
    let listed = |number: usize| chapters[number].listed(limits.seeds_max);
    let mut numbers = order.clone();
    numbers.sort_unstable();
    let all: Value = json!({
        "runs": numbers.into_iter().flat_map(listed).map(|case| data::run(case, by)).collect::<Vec<_>>(),
        "details": chapters.iter().map(|chapter| {
            chapter.observed.as_ref().map(|seen| data::detail(seen, chapter.scenario.duration.as_secs_f64()))
        }).collect::<Vec<_>>(),
    });
    let _ = write!(
        page,
        "</main>\n<footer class=\"faint\">Charts by uPlot 1.6.32 (MIT); its licence is in the source of this page, which asks no \
         network.</footer>\n\
         <script type=\"application/json\" id=\"data\">{}</script>\n<script>{CHARTS}</script>\n<script>{SCRIPT}</script>\n</body></html>\n",
        data::embed(&all)
    );
    page
}

fn failed(chapter: &Chapter<'_>) -> bool {
    chapter.cases.iter().any(explain::failed)
}

fn badge(failed: bool) -> &'static str {
    if failed { "<span class=\"badge fail\">FAIL</span>" } else { "<span class=\"badge pass\">PASS</span>" }
}

/// A row for each scenario, with the worst of its seeds.
fn overview(chapters: &[Chapter<'_>], order: &[usize]) -> String {
    let mut html = "<section aria-labelledby=\"all\"><h2 id=\"all\">Verdicts</h2><div class=\"wide\"><table class=\"overview\">\
        <thead><tr><th scope=\"col\">Verdict</th><th scope=\"col\">Scenario</th><th scope=\"col\" class=\"num\">Seeds passed</th>\
        <th scope=\"col\" class=\"num\">Success</th><th scope=\"col\" class=\"num\">p99</th><th scope=\"col\" class=\"num\">Amplification</th>\
        <th scope=\"col\">Recovery</th></tr></thead><tbody>"
        .to_owned();
    for number in order {
        let chapter = &chapters[*number];
        let name = escape(&chapter.scenario.name.value);
        let bad = failed(chapter);
        let _ = write!(html, "<tr><td>{}</td><th scope=\"row\"><a href=\"#s{number}\">{name}</a></th>", badge(bad));
        if let Some(row) = rows(chapter.cases).first() {
            let _ = write!(html, "<td class=\"num\">{} of {}</td>", row.passed, row.cases);
            if chapter.cases.iter().any(|case| case.result.is_ok()) {
                let _ = write!(
                    html,
                    "<td class=\"num\">{}</td><td class=\"num\">{}</td><td class=\"num\">{:.2}</td><td>{}</td>",
                    numbers::percent_of(row.success_rate),
                    numbers::span(row.p99),
                    row.amplification,
                    escape(&numbers::recovery(row.recovery))
                );
            } else {
                html.push_str("<td colspan=\"4\">no run came to an end</td>");
            }
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div><p class=\"faint\">Of several seeds the worst value of each column.");
    let left = chapters.len() - order.len();
    if left > 0 {
        let _ =
            write!(html, " {} more: the page would be too large. The CSV has all.", numbers::count(left, "scenario"));
    }
    html.push_str("</p></section>\n");
    html
}

fn chapter(number: usize, chapter: &Chapter<'_>, alone: bool, seeds_max: usize) -> String {
    let bad = failed(chapter);
    let name = escape(&chapter.scenario.name.value);
    let mut html = format!(
        "<details class=\"scenario\" id=\"s{number}\" data-scenario=\"{number}\"{}><summary><h2>{} {name}</h2></summary>",
        if bad || alone { " open" } else { "" },
        badge(bad)
    );
    if !chapter.scenario.question.is_empty() {
        let _ = write!(html, "<p class=\"question\">{}</p>", escape(&chapter.scenario.question));
    }
    for case in chapter.cases.iter().filter(|case| case.result.is_err()).take(1) {
        if let Err(error) = &case.result {
            let _ = write!(html, "<p class=\"broken\">Seed {}: {}</p>", case.seed, escape(&error.to_string()));
        }
    }
    if let Some(outcome) = chapter.observed.as_ref().map(|seen| &seen.outcome) {
        html.push_str(&checks(outcome));
    }
    let _ = write!(html, "<pre class=\"command\"><code>{}</code></pre>", escape(&chapter.replay));
    html.push_str(&seeds(chapter, seeds_max));
    match &chapter.observed {
        Some(seen) => html.push_str(&detail(number, chapter, seen)),
        None => html.push_str(
            "<p class=\"faint\">No details: the runs did not come to an end, were not the same twice, or the page would be too large. \
             Run this scenario alone to see them.</p>",
        ),
    }
    html.push_str("</details>\n");
    html
}

/// Every expectation of the run that is shown, what failed first.
fn checks(outcome: &Outcome) -> String {
    let mut html = format!(
        "<div class=\"wide\"><table class=\"checks\"><caption>Expectations, seed {}</caption><thead><tr><th scope=\"col\">Verdict</th><th \
         scope=\"col\">When</th><th scope=\"col\">What must hold</th><th scope=\"col\">What was</th></tr></thead><tbody>",
        outcome.seed
    );
    let mut sorted: Vec<_> = outcome.verdict.checks.iter().collect();
    sorted.sort_by_key(|check| check.passed);
    for check in sorted {
        let _ = write!(
            html,
            "<tr><td>{}</td><td>{}</td><td><code>{}</code></td><td>{}</td></tr>",
            badge(!check.passed),
            escape(&check.when),
            escape(&check.that),
            if check.passed { String::new() } else { escape(&check.finding()) }
        );
    }
    html.push_str("</tbody></table></div>");
    html
}

fn seeds(chapter: &Chapter<'_>, most: usize) -> String {
    let mut html = "<div class=\"wide\"><table class=\"seeds\"><caption>Seeds</caption><thead><tr><th scope=\"col\" class=\"num\">Seed</th><th \
        scope=\"col\">Verdict</th><th scope=\"col\" class=\"num\">Requests</th><th scope=\"col\" class=\"num\">Success</th><th scope=\"col\" \
        class=\"num\">p50</th><th scope=\"col\" class=\"num\">p99</th><th scope=\"col\" class=\"num\">Amplification</th><th scope=\"col\">\
        Recovery</th><th scope=\"col\">Digest</th></tr></thead><tbody>"
        .to_owned();
    let shown = chapter.observed.as_ref().map(|seen| seen.outcome.seed);
    let listed = chapter.listed(most);
    for case in &listed {
        let mark = if shown == Some(case.seed) { " class=\"shown\"" } else { "" };
        let _ = write!(html, "<tr{mark}><th scope=\"row\" class=\"num\">{}</th><td>{}</td>", case.seed, word(case));
        if let Ok(outcome) = &case.result {
            let sum = &outcome.summary;
            let _ = write!(
                html,
                "<td class=\"num\">{}</td><td class=\"num\">{}</td><td class=\"num\">{}</td><td class=\"num\">{}</td><td class=\"num\">{:.2}\
                 </td><td>{}</td><td class=\"faint\"><code>{:016x}</code></td>",
                sum.requests,
                numbers::percent(sum.succeeded, sum.requests),
                numbers::span(sum.latency.p50),
                numbers::span(sum.latency.p99),
                sum.amplification,
                escape(&numbers::recovery(sum.recovery)),
                outcome.digest
            );
        } else {
            html.push_str("<td colspan=\"7\"></td>");
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div>");
    let left = chapter.cases.len() - listed.len();
    if left > 0 {
        let bad = |cases: &mut dyn Iterator<Item = &Case>| cases.filter(|case| explain::failed(case)).count();
        let failed = bad(&mut chapter.cases.iter()) - bad(&mut listed.into_iter());
        let _ = write!(
            html,
            "<p class=\"faint\">{} more, of which {failed} failed: the page would be too large. The CSV has all.</p>",
            numbers::count(left, "seed")
        );
    }
    html
}

fn word(case: &Case) -> String {
    match verdict(case) {
        "pass" => badge(false).to_owned(),
        "fail" => badge(true).to_owned(),
        other => format!("<span class=\"badge fail\">{other}</span>"),
    }
}

fn detail(number: usize, chapter: &Chapter<'_>, seen: &Observed) -> String {
    let outcome = &seen.outcome;
    let duration_s = chapter.scenario.duration.as_secs_f64();
    let mut html = format!(
        "<section aria-label=\"Timeline\"><h3>Timeline of seed {}</h3><ul class=\"key\"><li class=\"success\">success</li><li \
         class=\"p50\">p50</li><li class=\"p99\">p99</li><li class=\"amplification\">amplification</li><li class=\"open\">breaker open</li>\
         <li class=\"half-open\">half-open</li><li class=\"ejected\">ejected</li><li class=\"unhealthy\">unhealthy</li></ul>",
        outcome.seed
    );
    let _ = write!(
        html,
        "<div class=\"charts\" data-charts=\"{number}\" hidden></div><div class=\"still\">{}</div>",
        svg::timeline(&seen.timeline, outcome, duration_s)
    );
    let deepest = svg::deepest(&seen.timeline);
    if !deepest.is_empty() {
        let names = deepest.iter().enumerate().map(|(rank, service)| {
            format!("<li class=\"s{rank}\">{}</li>", escape(&seen.timeline.services[*service].name))
        });
        let _ = write!(html, "<ul class=\"key\"><li class=\"plain\">Queues:</li>{}</ul>", names.collect::<String>());
    }
    let hidden = seen.timeline.lanes.len().saturating_sub(svg::LANES_MAX);
    if hidden > 0 {
        let _ = write!(html, "<p class=\"faint\">{hidden} more endpoints were out of service at some time.</p>");
    }
    if !outcome.faults.is_empty() {
        html.push_str("<ol class=\"faults\">");
        for line in explain::faults(outcome, |_| true) {
            let _ = write!(html, "<li>{}</li>", escape(line.trim()));
        }
        html.push_str("</ol>");
    }
    let story = explain::story(outcome, 40);
    if !story.is_empty() {
        let _ = write!(
            html,
            "<details class=\"printed\"><summary>What happened</summary><pre>{}</pre></details>",
            escape(&story.join("\n"))
        );
    }
    let _ = write!(
        html,
        "</section><section aria-label=\"Service graph\"><h3>Who called whom</h3><div class=\"over-time\" data-graph=\"{number}\" \
         hidden></div><div class=\"wide\">{}</div>{}</section>",
        svg::graph(&seen.timeline),
        edges(outcome, &seen.timeline)
    );
    if !seen.stories.is_empty() {
        html.push_str("<section aria-label=\"Worst requests\"><h3>The worst requests</h3>");
        for (place, story) in seen.stories.iter().enumerate() {
            html.push_str(&waterfall::story(story, &chapter.replay, place == 0));
        }
        html.push_str("</section>");
    }
    html
}

fn edges(outcome: &Outcome, timeline: &Timeline) -> String {
    let mut html = "<details class=\"printed\"><summary>Calls in numbers</summary><div class=\"wide\"><table><thead><tr><th scope=\"col\">From</th><th \
        scope=\"col\">To</th><th scope=\"col\" class=\"num\">Requests</th><th scope=\"col\" class=\"num\">Success</th><th scope=\"col\" \
        class=\"num\">Attempts</th><th scope=\"col\" class=\"num\">p50</th><th scope=\"col\" class=\"num\">p99</th><th scope=\"col\" \
        class=\"num\">Refused</th><th scope=\"col\" class=\"num\">Over budget</th><th scope=\"col\">Mutual TLS</th></tr></thead><tbody>"
        .to_owned();
    for edge in &outcome.summary.edges {
        let line = timeline.edges.iter().find(|line| line.from == edge.from && line.to == edge.to);
        let _ = write!(
            html,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"num\">{}</td><td class=\"num\">{}</td><td class=\"num\">{}</td><td \
             class=\"num\">{}</td><td class=\"num\">{}</td><td class=\"num\">{}</td><td class=\"num\">{}</td><td>{}</td></tr>",
            escape(&edge.from),
            escape(&edge.to),
            edge.requests,
            numbers::percent(edge.succeeded, edge.requests),
            edge.attempts,
            numbers::span(edge.latency.p50),
            numbers::span(edge.latency.p99),
            edge.refused,
            edge.over_budget,
            line.map(svg::proof).unwrap_or_default()
        );
    }
    html.push_str("</tbody></table></div></details>");
    html
}

//! The worst requests of a run, each as bars over time.

use std::fmt::Write as _;
use std::time::Duration;

use squall_sim::timeline::{Bar, BarKind, Story};

use super::html::escape;
use crate::numbers;

const WIDTH: f64 = 640.0;
/// More bars than this are not drawn; the events below them are all there.
const BARS_MAX: usize = 40;

/// A story as an element that opens; `replay` shows all of it.
pub(super) fn story(story: &Story, replay: &str, open: bool) -> String {
    let ended = match (story.success, story.status) {
        (true, status) => format!("<span class=\"badge pass\">{status}</span>"),
        (false, 0) => "<span class=\"badge fail\">no answer</span>".to_owned(),
        (false, status) => format!("<span class=\"badge fail\">{status}</span>"),
    };
    let attempts = numbers::count(usize::try_from(story.attempts).unwrap_or(usize::MAX), "attempt");
    let mut html = format!(
        "<details class=\"story\"{}><summary>{ended} <b>#{}</b> {} <span class=\"faint\">at {} s, {}, {attempts}</span></summary>",
        if open { " open" } else { "" },
        story.request,
        escape(&story.title),
        story.at,
        numbers::span(story.took),
    );
    html.push_str("<div class=\"wide\"><table class=\"waterfall\"><thead><tr><th scope=\"col\">Where</th><th scope=\"col\">What and why</th><th scope=\"col\">When</th></tr></thead><tbody>");
    let whole = story.bars.iter().filter_map(|bar| bar.to).max().unwrap_or_default().max(story.took);
    for bar in story.bars.iter().take(BARS_MAX) {
        html.push_str(&row(bar, whole));
    }
    html.push_str("</tbody></table></div>");
    if story.bars.len() > BARS_MAX {
        let _ = write!(html, "<p class=\"faint\">{} more are not drawn.</p>", story.bars.len() - BARS_MAX);
    }
    html.push_str("<details><summary>Every event</summary><ol class=\"events\">");
    for line in &story.lines {
        let _ = write!(
            html,
            "<li><span class=\"num\">+{}</span> <b>{}</b> {}</li>",
            numbers::span(line.after),
            escape(&line.host),
            escape(&line.text)
        );
    }
    html.push_str("</ol>");
    if story.cut > 0 {
        let _ = write!(html, "<p class=\"faint\">{} more.</p>", story.cut);
    }
    let _ = write!(
        html,
        "</details><pre class=\"command\"><code>{} --request {}</code></pre></details>",
        escape(replay),
        story.request
    );
    html
}

fn row(bar: &Bar, whole: Duration) -> String {
    let (kind, word) = match bar.kind {
        BarKind::Call => ("call", "call"),
        BarKind::Wait => ("wait", "wait"),
        BarKind::Attempt => ("attempt", "attempt at"),
        BarKind::Work => ("work", "work of"),
    };
    let x = |at: Duration| WIDTH * (at.as_secs_f64() / whole.as_secs_f64().max(1e-9)).clamp(0.0, 1.0);
    let (from, to) = (x(bar.from), x(bar.to.unwrap_or(whole)));
    let took = match bar.to {
        Some(to) => format!(" for {}", numbers::span(to.saturating_sub(bar.from))),
        None => ", no end".to_owned(),
    };
    let class = match (bar.to, bar.good) {
        (None, _) => "open-end",
        (Some(_), true) => "good",
        (Some(_), false) => "bad",
    };
    let why = match bar.why.as_str() {
        "" => String::new(),
        why => format!(" <span class=\"why\">({})</span>", escape(why)),
    };
    let end = match bar.end.as_str() {
        "" => String::new(),
        end => format!(" <span class=\"end {class}\">{}</span>", escape(end)),
    };
    format!(
        "<tr><td>{}</td><td>{word} <b>{}</b>{why}{end}</td><td><svg class=\"bar\" viewBox=\"0 0 {WIDTH} 14\" \
         preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"{kind} {class}\" x=\"{from:.1}\" y=\"1\" width=\"{:.1}\" \
         height=\"12\"/></svg><span class=\"num\">+{}{took}</span></td></tr>",
        escape(&bar.host),
        escape(&bar.what),
        (to - from).max(2.0),
        numbers::span(bar.from),
    )
}

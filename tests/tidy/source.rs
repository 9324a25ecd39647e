//! What the sources may say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::{expect_none, root, rust_files};

/// No file is longer than this.
const LINES_MAX: usize = 800;

/// A source text taken apart: the same length and lines each, with spaces where the other part stands. Text in string
/// literals is in neither.
pub(crate) struct Parts {
    pub(crate) code: String,
    comments: String,
}

/// Takes Rust source apart. It knows strings (raw and byte strings too), characters, lifetimes and nested comments.
pub(crate) fn parts(text: &str) -> Parts {
    let chars: Vec<char> = text.chars().collect();
    let (mut code, mut comments) = (String::new(), String::new());
    let mut i = 0;
    let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
    while i < chars.len() {
        let end = match chars[i] {
            '/' if chars.get(i + 1) == Some(&'/') => {
                let end = chars[i..].iter().position(|c| *c == '\n').map_or(chars.len(), |n| i + n);
                chars[i..end].iter().for_each(|c| (code.push(' '), comments.push(*c)).1);
                i = end;
                continue;
            }
            '/' if chars.get(i + 1) == Some(&'*') => {
                let (mut depth, mut at) = (0, i);
                while at < chars.len() {
                    match (chars[at], chars.get(at + 1)) {
                        ('/', Some('*')) => (depth += 1, at += 2).1,
                        ('*', Some('/')) => (depth -= 1, at += 2).1,
                        _ => at += 1,
                    }
                    if depth == 0 {
                        break;
                    }
                }
                chars[i..at].iter().for_each(|c| (code.push(blank(*c)), comments.push(*c)).1);
                i = at;
                continue;
            }
            '"' => end_of_string(&chars, i),
            'r' if !after_word(&chars, i) => end_of_raw(&chars, i),
            '\'' => end_of_char(&chars, i),
            _ => None,
        };
        match end {
            Some(end) => {
                chars[i..end].iter().for_each(|c| (code.push(blank(*c)), comments.push(blank(*c))).1);
                i = end;
            }
            None => {
                code.push(chars[i]);
                comments.push(blank(chars[i]));
                i += 1;
            }
        }
    }
    Parts { code, comments }
}

fn after_word(chars: &[char], at: usize) -> bool {
    // `br"` is a raw byte string, so a single `b` before the `r` is no word.
    let word = |n: usize| at >= n && (chars[at - n].is_alphanumeric() || chars[at - n] == '_');
    word(1) && (chars[at - 1] != 'b' || word(2))
}

fn end_of_string(chars: &[char], start: usize) -> Option<usize> {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    Some((at + 1).min(chars.len()))
}

fn end_of_raw(chars: &[char], start: usize) -> Option<usize> {
    let hashes = chars[start + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(start + 1 + hashes) != Some(&'"') {
        return None;
    }
    let mut at = start + 2 + hashes;
    while at < chars.len() && !(chars[at] == '"' && (1..=hashes).all(|n| chars.get(at + n) == Some(&'#'))) {
        at += 1;
    }
    Some((at + 1 + hashes).min(chars.len()))
}

/// `'x'` and `'\n'` are characters, `'a` is a lifetime.
fn end_of_char(chars: &[char], start: usize) -> Option<usize> {
    match (chars.get(start + 1), chars.get(start + 2)) {
        (Some('\\'), _) => chars[start + 3..].iter().position(|c| *c == '\'').map(|n| start + 4 + n),
        (Some(_), Some('\'')) => Some(start + 3),
        _ => None,
    }
}

fn line_of(text: &str, byte: usize) -> usize {
    text[..byte].matches('\n').count() + 1
}

/// The places in `code` where `word` stands as a word of its own.
pub(crate) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let (before, after) = (code[..*at].chars().next_back(), code[at + word.len()..].chars().next());
        let starts = word.chars().next().is_some_and(part);
        let ends = word.chars().next_back().is_some_and(part);
        let runs_on = starts && before.is_some_and(part) || ends && after.is_some_and(part);
        !runs_on
    })
}

/// Places where a `select!` lets a thread-local die decide which ready branch runs.
fn unbiased_selects(code: &str) -> Vec<usize> {
    words(code, "select!")
        .filter(|at| {
            let body = code[at + "select!".len()..].trim_start().get(1..).unwrap_or_default().trim_start();
            !body.starts_with("biased")
        })
        .map(|at| line_of(code, at))
        .collect()
}

/// What stays behind when work is left half done.
fn leftovers(parts: &Parts) -> Vec<(usize, &'static str)> {
    const CODE: [&str; 6] = ["todo!", "unimplemented!", "dbg!", "#[ignore", "#[allow(", "#![allow("];
    const COMMENTS: [&str; 3] = ["FIXME", "TODO", "XXX"];
    let code = CODE.iter().flat_map(|w| words(&parts.code, w).map(|at| (line_of(&parts.code, at), *w)));
    let comments = COMMENTS.iter().flat_map(|w| words(&parts.comments, w).map(|at| (line_of(&parts.comments, at), *w)));
    code.chain(comments).collect()
}

/// Names that only one crate may say. The root's tests and benches are not crates and may drive everything.
const ONLY: [(&str, &str, &str); 12] = [
    ("turmoil::", "sim", "the other crates do not know which engine runs them"),
    ("prost::", "xds", "protobuf stays behind `xds`"),
    ("tokio::net", "net", "sockets come from `Host`"),
    ("rustls::", "net", "TLS comes from `squall_net::tls`"),
    ("tokio_rustls", "net", "TLS comes from `squall_net::tls`"),
    ("hyper::", "net", "HTTP plumbing comes from `squall_net::http`"),
    ("socket2::", "net", "sockets come from `Host`"),
    ("libc::", "net", "only `net` speaks to the operating system"),
    ("unsafe", "net", "each block there has its SAFETY comment"),
    ("miette::", "cli", "below `cli` an error is an enum"),
    ("clap::", "cli", "only `cli` reads argv"),
    ("process::Command", "cli", "nothing below starts a process"),
];

fn trespasses(path: &Path, code: &str) -> Vec<String> {
    let Some(krate) = path.strip_prefix("crates").ok().and_then(|p| p.iter().next()) else { return Vec::new() };
    ONLY.iter()
        .filter(|(_, owner, _)| krate != *owner)
        .flat_map(|(name, owner, why)| {
            words(code, name).map(move |at| {
                format!("{}:{} names `{name}`, which only `{owner}` may: {why}", path.display(), line_of(code, at))
            })
        })
        .collect()
}

#[test]
fn every_select_is_biased() {
    let mistakes = rust_files().into_iter().flat_map(|(path, text)| {
        unbiased_selects(&parts(&text).code).into_iter().map(move |line| format!("{}:{line}", path.display()))
    });
    expect_none(
        "`select!` without `biased;` as its first word (unseeded dice would pick the branch)",
        mistakes.collect(),
    );
}

#[test]
fn nothing_is_left_half_done() {
    let mistakes = rust_files().into_iter().flat_map(|(path, text)| {
        leftovers(&parts(&text)).into_iter().map(move |(line, what)| format!("{}:{line} `{what}`", path.display()))
    });
    expect_none("leftovers (finish it, or use #[expect(lint, reason)] for a lint)", mistakes.collect());
}

#[test]
fn only_its_owner_names_a_thing() {
    let mistakes = rust_files().into_iter().flat_map(|(path, text)| trespasses(&path, &parts(&text).code));
    expect_none("names used outside the one crate that may", mistakes.collect());
}

#[test]
fn no_test_sleeps() {
    let mistakes = rust_files().into_iter().flat_map(|(path, text)| {
        let code = parts(&text).code;
        words(&code, "thread::sleep").map(|at| format!("{}:{}", path.display(), line_of(&code, at))).collect::<Vec<_>>()
    });
    expect_none("sleeps (wait for what you need instead)", mistakes.collect());
}

/// Places where a lock that somebody else's panic has poisoned would panic too, and so on. What tests do with theirs is their business.
fn poisonable(code: &str) -> Vec<usize> {
    let code = code.split("#[cfg(test)]").next().unwrap_or_default();
    [".lock()", ".read()", ".write()"]
        .iter()
        .flat_map(|lock| code.match_indices(*lock).map(move |(at, lock)| at + lock.len()))
        .filter(|at| [".expect(", ".unwrap("].iter().any(|end| code[*at..].trim_start().starts_with(end)))
        .map(|at| line_of(code, at))
        .collect()
}

#[test]
fn a_panic_poisons_no_lock_for_others() {
    assert_eq!(poisonable("a.lock()\n    .expect(\"\"); b.lock().unwrap_or_else(c); d.write().unwrap()"), [1, 2]);
    assert!(poisonable("#[cfg(test)] mod tests { a.lock().expect() }").is_empty());
    let mistakes = rust_files().into_iter().filter(|(path, _)| path.components().any(|part| part.as_os_str() == "src"));
    let mistakes = mistakes.flat_map(|(path, text)| {
        poisonable(&parts(&text).code).into_iter().map(move |line| format!("{}:{line}", path.display()))
    });
    expect_none("locks that one panic breaks for all (unwrap_or_else(PoisonError::into_inner))", mistakes.collect());
}

#[test]
fn files_stay_short() {
    let mistakes = rust_files().into_iter().filter_map(|(path, text)| {
        let lines = text.lines().count();
        (lines > LINES_MAX).then(|| format!("{} has {lines} lines", path.display()))
    });
    expect_none("files over 800 lines (one idea per file)", mistakes.collect());
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    let mistakes = rust_files().into_iter().flat_map(|(path, text)| {
        let code = parts(&text).code;
        let lines: Vec<&str> = text.lines().collect();
        words(&code, "unsafe")
            .map(|at| line_of(&code, at))
            .filter(|line| !lines[line.saturating_sub(6)..*line].iter().any(|l| l.contains("SAFETY:")))
            .map(|line| format!("{}:{line}", path.display()))
            .collect::<Vec<_>>()
    });
    expect_none("`unsafe` without a SAFETY: comment above", mistakes.collect());
}

/// The files that a crate root reaches by `mod`.
fn reachable(root_file: &Path, read: &dyn Fn(&Path) -> Option<String>) -> BTreeSet<PathBuf> {
    let mut seen = BTreeSet::new();
    let mut open = vec![(root_file.to_path_buf(), true)];
    while let Some((file, is_root)) = open.pop() {
        let Some(text) = read(&file) else { continue };
        if !seen.insert(file.clone()) {
            continue;
        }
        let dir = file.parent().expect("a file has a directory").to_path_buf();
        let own = is_root || file.ends_with("mod.rs");
        let stem = file.file_stem().expect("a file has a name");
        let children = if own { dir.clone() } else { dir.join(stem) };
        for (name, path) in mods(&text) {
            let places = match path {
                Some(path) => vec![dir.join(path)],
                None => vec![children.join(format!("{name}.rs")), children.join(&name).join("mod.rs")],
            };
            open.extend(places.into_iter().map(|p| (p, false)));
        }
    }
    seen
}

/// The `mod name;` lines of a source, with the `#[path]` above if there is one.
fn mods(text: &str) -> Vec<(String, Option<String>)> {
    let code = parts(text).code;
    let mut path = None;
    let mut found = Vec::new();
    for (code, line) in code.lines().zip(text.lines()) {
        let line = line.trim();
        if code.trim().starts_with("#[path") {
            path = line.split('"').nth(1).map(str::to_string);
        } else if let Some(name) = code.trim().strip_suffix(';').and_then(|l| {
            let l = l.trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ").trim_start_matches("pub ");
            l.strip_prefix("mod ")
        }) {
            found.push((name.trim().to_string(), path.take()));
        }
    }
    found
}

#[test]
fn every_source_file_is_compiled() {
    let read = |path: &Path| std::fs::read_to_string(root().join(path)).ok();
    let mut compiled = BTreeSet::new();
    for target in crate::packages::target_roots() {
        compiled.extend(reachable(&target, &read));
    }
    let dead = rust_files().into_iter().map(|(path, _)| path).filter(|path| !compiled.contains(path));
    expect_none("files that no `mod` reaches", dead.map(|p| p.display().to_string()).collect());
}

#[test]
fn no_file_names_a_place_on_somebodys_machine() {
    let places = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let mut mistakes = Vec::new();
    for dir in ["crates", "tests", "benches", "scenarios", "reports", ".ci"] {
        for path in crate::files_under(dir) {
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            let hits = places.iter().flat_map(|p| text.match_indices(p));
            mistakes.extend(hits.map(|(at, p)| format!("{}:{} `{p}`", path.display(), line_of(&text, at))));
        }
    }
    expect_none("absolute paths", mistakes);
}

mod the_checker {
    use super::*;

    #[test]
    fn reads_neither_strings_nor_comments_as_code() {
        let text = "let a = \"todo!()\"; // dbg!(x)\nlet b = r#\"unsafe \" \"#; /* /* todo! */ */ let c: &'a str = f('\"', '\\'');\ntodo!();";
        let found = leftovers(&parts(text));
        assert_eq!(found, [(3, "todo!")]);
        assert_eq!(words(&parts(text).code, "unsafe").count(), 0);
    }

    #[test]
    fn finds_leftovers() {
        let text = "// FIXME later\n#[ignore]\nfn a() { dbg!(1); }\n#[allow(dead_code)]\nfn b() {}\nlet fixme = 1;";
        let lines: Vec<usize> = leftovers(&parts(text)).into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, [3, 2, 4, 1]);
    }

    #[test]
    fn tells_a_biased_select_from_an_unbiased_one() {
        let text = "tokio::select! {\n  biased;\n a = b => {} }\ntokio::select! { a = b => {} }\n// select! { c }\n";
        assert_eq!(unbiased_selects(&parts(text).code), [4]);
    }

    #[test]
    fn finds_a_name_outside_its_crate_only() {
        let code = "use turmoil::net::TcpStream; my_turmoil::x();";
        assert_eq!(trespasses(Path::new("crates/sim/src/a.rs"), code).len(), 0);
        assert_eq!(trespasses(Path::new("crates/proxy/src/a.rs"), code).len(), 1);
        assert_eq!(trespasses(Path::new("tests/a.rs"), code).len(), 0);
        assert_eq!(trespasses(Path::new("crates/sim/src/a.rs"), "unsafe { x() }").len(), 1);
    }

    #[test]
    fn follows_mods_and_their_paths() {
        let files = [
            ("src/lib.rs", "mod a;\npub(crate) mod b;\n#[path = \"odd/c.rs\"]\nmod c;\n// mod d;\nmod e { }"),
            ("src/a.rs", "pub mod inner;"),
            ("src/a/inner.rs", ""),
            ("src/b/mod.rs", "mod deep;"),
            ("src/b/deep.rs", ""),
            ("src/odd/c.rs", ""),
            ("src/d.rs", ""),
        ];
        let read = |p: &Path| files.iter().find(|(name, _)| Path::new(name) == p).map(|(_, text)| text.to_string());
        let seen = reachable(Path::new("src/lib.rs"), &read);
        let dead: Vec<&str> = files.iter().map(|f| f.0).filter(|f| !seen.contains(Path::new(f))).collect();
        assert_eq!(dead, ["src/d.rs"]);
    }
}

//! The guide does what it says. In each chapter, a block of YAML or text that begins with `# NAME` is a file of that name, and in blocks of
//! `console` every `$ squall …` is run where those files are: it ends with code 0, or that of `# exit N` behind it, and the lines below it
//! are in its output, in that order. Blanks count as one, and what stands in the guide may be a part of a line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src");

#[expect(clippy::disallowed_methods, reason = "files of the test's own, not results")]
fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("it is in the chapter's directory"))
        .expect("the target directory can be written");
    fs::write(path, text).expect("the target directory can be written");
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The chapters, in the order of the guide.
fn chapters() -> Vec<String> {
    let summary = read(&Path::new(GUIDE).join("SUMMARY.md"));
    links(&summary).into_iter().filter(|link| link.ends_with(".md")).collect()
}

/// What a text links to.
fn links(text: &str) -> Vec<String> {
    let ends = text.match_indices("](").map(|(at, _)| &text[at + 2..]);
    ends.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// Fenced blocks: their language, the line of the fence and their text.
fn blocks(text: &str) -> Vec<(String, usize, String)> {
    let mut found: Vec<(String, usize, String)> = Vec::new();
    let mut open = false;
    for (nth, line) in text.lines().enumerate() {
        if let Some(language) = line.strip_prefix("```") {
            open = !open;
            if open {
                found.push((language.to_owned(), nth + 1, String::new()));
            }
        } else if open && let Some((_, _, block)) = found.last_mut() {
            block.push_str(line);
            block.push('\n');
        }
    }
    assert!(!open, "a block does not end");
    found
}

fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

struct Ran {
    place: String,
    out: String,
}

fn run(place: String, line: &str, dir: &Path) -> Ran {
    let (command, code) = match line.split_once(" # exit ") {
        Some((command, code)) => (command, code.trim().parse().expect("an exit code")),
        None => (line, 0),
    };
    let args: Vec<&str> = command.split_whitespace().collect();
    assert_eq!(args.first(), Some(&"squall"), "{place}: only squall is run");
    let mut squall = Command::new(env!("CARGO_BIN_EXE_squall"));
    let ended = squall
        .current_dir(dir)
        .args(&args[1..])
        .env("CI", "true")
        .stdin(Stdio::null())
        .output()
        .expect("squall can be started");
    // Folded lines are whole again.
    let out = [ended.stdout, ended.stderr].concat();
    let out = plain(&String::from_utf8_lossy(&out));
    assert_eq!(ended.status.code(), Some(code), "{place}: {line}\n{out}");
    Ran { place, out }
}

#[test]
fn every_example_of_the_guide_does_what_it_says() {
    let mut commands = 0;
    for chapter in chapters() {
        let dir: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guide").join(chapter.replace(['/', '.'], "-"));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("the target directory can be written");
        for (language, line, text) in blocks(&read(&Path::new(GUIDE).join(&chapter))) {
            let place = |nth: usize| format!("{chapter}:{}", line + nth + 1);
            match language.as_str() {
                "yaml" | "text" => {
                    let (name, text) = text.split_once('\n').expect("its first line is its name");
                    let name =
                        name.strip_prefix("# ").unwrap_or_else(|| panic!("{}: a file begins with its name", place(0)));
                    write(&dir.join(name), text);
                }
                "console" => {
                    let mut ran: Option<Ran> = None;
                    for (nth, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                        if let Some(command) = line.strip_prefix("$ ") {
                            ran = Some(run(place(nth), command, &dir));
                            commands += 1;
                            continue;
                        }
                        let ran = ran.as_mut().unwrap_or_else(|| panic!("{}: nothing was run", place(nth)));
                        let wanted = plain(line);
                        let at = ran.out.find(&wanted);
                        let at = at.unwrap_or_else(|| {
                            panic!("{}: {} does not say `{wanted}`:\n{}", place(nth), ran.place, ran.out)
                        });
                        ran.out = ran.out[at + wanted.len()..].to_owned();
                    }
                }
                "python" | "sh" | "json" | "" => {}
                other => panic!("{}: what is `{other}`?", place(0)),
            }
        }
    }
    assert!(commands > 10, "only {commands} commands were found");
}

#[test]
fn every_chapter_is_listed_and_every_link_leads_somewhere() {
    let listed = chapters();
    let mut todo = vec![PathBuf::from(GUIDE)];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).expect("the guide is there") {
            let path = entry.expect("it can be read").path();
            if path.is_dir() {
                todo.push(path);
            } else {
                let name = path.strip_prefix(GUIDE).expect("it is in the guide").display().to_string();
                let is_chapter = name.ends_with(".md") && name != "SUMMARY.md";
                assert!(!is_chapter || listed.contains(&name), "{name} is not in SUMMARY.md");
            }
        }
    }
    for chapter in listed {
        let path = Path::new(GUIDE).join(&chapter);
        for link in links(&read(&path)) {
            let file = link.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") {
                let to = path.with_file_name("").join(file);
                assert!(to.exists(), "{chapter} links to {link}");
                // What lies elsewhere is no part of the book.
                let is_inside = |to: &Path| to.starts_with(fs::canonicalize(GUIDE).expect("the guide is there"));
                assert!(
                    fs::canonicalize(&to).is_ok_and(|to| is_inside(&to)),
                    "{chapter} links out of the book: {link}"
                );
            }
        }
    }
}

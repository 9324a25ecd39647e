//! Lines of limited width. What is too long goes on in the next line, further in; nothing is left out.

use unicode_width::UnicodeWidthChar;

/// The width where nothing is known of the reader: files, pipes, logs of a forge.
pub(crate) const WIDTH: usize = 80;

/// Columns that a text takes on a terminal. Colours take none.
pub(crate) fn columns(text: &str) -> usize {
    let mut columns = 0;
    let mut in_code = false;
    for c in text.chars() {
        match c {
            '\x1b' => in_code = true,
            'm' if in_code => in_code = false,
            _ if in_code => {}
            _ => columns += c.width().unwrap_or(0),
        }
    }
    columns
}

/// Lines of at most `width` columns, at least 20, broken at spaces; a word that is longer is broken too.
pub(crate) fn fold(text: &str, width: usize) -> Vec<String> {
    text.split('\n').flat_map(|line| one(line, width, "")).collect()
}

/// The same for a command: a line that is broken ends with a backslash, so that a shell takes it as it is copied.
pub(crate) fn fold_command(line: &str, width: usize) -> Vec<String> {
    one(line, width, "\\")
}

fn one(line: &str, width: usize, joint: &str) -> Vec<String> {
    if columns(line) <= width {
        return vec![line.to_owned()];
    }
    let room = width.max(20) - 2 * joint.len();
    let inside = line.len() - line.trim_start_matches(' ').len();
    let indent = (inside + 4).min(room / 2);
    let mut folded = Folded { lines: Vec::new(), current: String::new(), used: 0, begun: false };
    let mut rest = line;
    while !rest.is_empty() {
        let word_at = rest.find(|c| c != ' ').unwrap_or(rest.len());
        let end = rest[word_at..].find(' ').map_or(rest.len(), |at| word_at + at);
        let (gap, word) = (&rest[..word_at], &rest[word_at..end]);
        rest = &rest[end..];
        if folded.begun && folded.used + gap.len() + columns(word) > room {
            let joint = if joint.is_empty() { String::new() } else { format!(" {joint}") };
            folded.next(&joint, indent);
        } else {
            folded.add(gap);
        }
        folded.word(word, room, joint);
    }
    folded.next("", 0);
    folded.lines
}

struct Folded {
    lines: Vec<String>,
    current: String,
    used: usize,
    /// The current line has a word.
    begun: bool,
}

impl Folded {
    fn add(&mut self, text: &str) {
        self.current.push_str(text);
        self.used += columns(text);
    }

    fn word(&mut self, word: &str, room: usize, joint: &str) {
        if self.used + columns(word) <= room || (!joint.is_empty() && word.starts_with('\'')) {
            // A shell does not join lines within quotes: there the terminal must break it.
            self.add(word);
        } else {
            for c in word.chars() {
                if self.used + c.width().unwrap_or(0) > room {
                    self.next(joint, 0);
                }
                self.current.push(c);
                self.used = columns(&self.current);
            }
        }
        self.begun |= !word.is_empty();
    }

    fn next(&mut self, joint: &str, indent: usize) {
        let line = std::mem::replace(&mut self.current, " ".repeat(indent));
        self.lines.push(format!("{}{joint}", line.trim_end()));
        (self.used, self.begun) = (indent, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, width: usize, want: &[&str]) {
        assert_eq!(fold(line, width), want);
    }

    #[test]
    fn a_line_that_fits_stays_as_it_is() {
        check("  two   columns", 80, &["  two   columns"]);
        check("", 80, &[""]);
        check("\nafter an empty line", 80, &["", "after an empty line"]);
    }

    #[test]
    fn a_long_line_goes_on_further_in() {
        check("  one two three four five six", 20, &["  one two three four", "      five six"]);
        check("a  b                    c", 20, &["a  b", "    c"]);
    }

    #[test]
    fn a_word_longer_than_a_line_loses_nothing() {
        let name = "x".repeat(50);
        let lines = fold(&format!("FAIL {name} on all seeds"), 20);
        assert!(lines.iter().all(|line| columns(line) <= 20), "{lines:?}");
        assert_eq!(lines.concat().replace(' ', ""), format!("FAIL{name}onallseeds"));
    }

    #[test]
    fn colours_take_no_columns() {
        let line = format!("\x1b[1;31mFAIL\x1b[0m {}", "x".repeat(15));
        assert_eq!(columns(&line), 20);
        assert_eq!(fold(&line, 20), [line]);
        assert_eq!(columns("日本"), 4);
    }

    #[test]
    fn a_shell_runs_a_folded_command_as_it_was() {
        let path = "directory/".repeat(12);
        let command = format!("echo replay {path}x.yaml --seed 7 --engine turmoil --model fast");
        let lines = fold_command(&command, 40);
        assert!(lines.len() > 3 && lines.iter().all(|line| columns(line) <= 40), "{lines:?}");
        let ran = std::process::Command::new("sh").args(["-c", &lines.join("\n")]).output().expect("there is a shell");
        let wanted = format!("{}\n", command.strip_prefix("echo ").expect("it begins so"));
        assert_eq!(String::from_utf8_lossy(&ran.stdout), wanted);
    }
}

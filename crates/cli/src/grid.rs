//! A table for a terminal: a name, then numbers under their headings, then what else there is to say.

use crate::fold::columns;

/// Between two columns.
const GAP: usize = 2;
/// No name gets less room.
const NAME_MIN: usize = 12;

/// A table in the making.
pub(crate) struct Grid {
    /// Headings of the name and of each number. Without a word in them there is no line of headings.
    heads: Vec<String>,
    rows: Vec<Row>,
}

/// A line of a table.
pub(crate) struct Row {
    /// Before the name: `PASS `. As wide in every row.
    pub(crate) mark: String,
    pub(crate) name: String,
    /// Under the headings, as many at most.
    pub(crate) cells: Vec<String>,
    /// After the last of them, if there is room; else below. May be empty.
    pub(crate) note: String,
}

impl Grid {
    pub(crate) fn new<'h>(heads: impl IntoIterator<Item = &'h str>) -> Self {
        Self { heads: heads.into_iter().map(str::to_owned).collect(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// The lines, of at most `width` columns but for long notes and names. A name that leaves no room for its numbers stands above them.
    pub(crate) fn lines(&self, width: usize) -> Vec<String> {
        if self.rows.is_empty() {
            return Vec::new();
        }
        let widths: Vec<usize> = (1..self.heads.len())
            .map(|at| {
                let cells = self.rows.iter().filter_map(|row| row.cells.get(at - 1));
                cells.map(|cell| columns(cell)).chain([columns(&self.heads[at])]).max().unwrap_or(0)
            })
            .collect();
        let mark = self.rows.iter().map(|row| columns(&row.mark)).max().unwrap_or(0);
        let taken = mark + widths.iter().map(|width| width + GAP).sum::<usize>();
        let room = width.saturating_sub(taken).max(NAME_MIN);
        let names = self.rows.iter().map(|row| columns(&row.name)).filter(|name| *name <= room);
        let name = names.chain([columns(&self.heads[0])]).max().unwrap_or(0);
        let mut lines = Vec::new();
        if self.heads.iter().any(|head| !head.is_empty()) {
            lines.push(line(&" ".repeat(mark), &self.heads[0], name, &self.heads[1..], &widths));
        }
        for row in &self.rows {
            let fits = columns(&row.name) <= name;
            if !fits {
                lines.push(format!("{}{}", padded(&row.mark, mark), row.name));
            }
            let (mark_text, name_text) = if fits { (row.mark.as_str(), row.name.as_str()) } else { ("", "") };
            let mut text = line(&padded(mark_text, mark), name_text, name, &row.cells, &widths);
            if !row.note.is_empty() {
                if columns(&text) + GAP + columns(&row.note) <= width {
                    text.push_str(&format!("{}{}", " ".repeat(GAP), row.note));
                } else {
                    if !text.trim().is_empty() {
                        lines.push(text);
                    }
                    text = format!("{}{}", " ".repeat(mark.max(2)), row.note);
                }
            }
            if !text.trim().is_empty() {
                lines.push(text);
            }
        }
        lines
    }
}

fn line(mark: &str, name: &str, name_width: usize, cells: &[String], widths: &[usize]) -> String {
    let mut text = format!("{mark}{}", padded(name, name_width));
    for (cell, width) in cells.iter().zip(widths) {
        text.push_str(&" ".repeat(GAP + width.saturating_sub(columns(cell))));
        text.push_str(cell);
    }
    text.trim_end().to_owned()
}

fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, cells: &[&str], note: &str) -> Row {
        let cells = cells.iter().map(|cell| (*cell).to_owned()).collect();
        Row { mark: "* ".into(), name: name.into(), cells, note: note.into() }
    }

    #[test]
    fn a_name_without_room_stands_above_its_numbers() {
        let mut grid = Grid::new(["name", "p99", "ampl."]);
        grid.row(row("short", &["41.0 ms", "1.00"], ""));
        grid.row(row("a-name-that-takes-a-whole-line", &["1.00 s", "12.00"], "and a note"));
        let want = [
            "  name       p99  ampl.",
            "* short  41.0 ms   1.00",
            "* a-name-that-takes-a-whole-line",
            "          1.00 s  12.00",
            "  and a note",
        ];
        assert_eq!(grid.lines(30), want);
    }

    #[test]
    fn numbers_that_are_not_there_leave_no_hole_before_a_note() {
        let mut grid = Grid::new(["", "", ""]);
        grid.row(row("one", &["0/1"], "why it never ran"));
        assert_eq!(grid.lines(80), ["* one  0/1  why it never ran"]);
    }
}

//! Parquet, as far as one table of some thousand rows needs it: one row group, a plain page for each column, nothing compressed.
//! The format is that of <https://parquet.apache.org/docs/file-format/>, the numbers of fields are those of its `parquet.thrift`.
//! Apache's own crate would take a fifth of the time that all of Squall takes to build.

use std::io::{self, Write};

/// Begins and ends every file.
const MAGIC: &[u8; 4] = b"PAR1";

/// The cells of a column, from top to bottom; `None`: there is nothing.
pub(super) enum Column {
    /// Whole numbers without sign.
    Counts(Vec<Option<u64>>),
    /// Numbers with fractions.
    Numbers(Vec<Option<f64>>),
    /// Texts.
    Texts(Vec<Option<String>>),
}

// Of `parquet.thrift`.
const INT64: i64 = 2;
const DOUBLE: i64 = 5;
const BYTE_ARRAY: i64 = 6;
const OPTIONAL: i64 = 1;
const UTF8: i64 = 0;
const UINT_64: i64 = 14;
const PLAIN: i64 = 0;
const RLE: i64 = 3;
const DATA_PAGE: i64 = 0;
const UNCOMPRESSED: i64 = 0;

impl Column {
    fn physical(&self) -> i64 {
        match self {
            Self::Counts(_) => INT64,
            Self::Numbers(_) => DOUBLE,
            Self::Texts(_) => BYTE_ARRAY,
        }
    }

    fn converted(&self) -> Option<i64> {
        match self {
            Self::Counts(_) => Some(UINT_64),
            Self::Numbers(_) => None,
            Self::Texts(_) => Some(UTF8),
        }
    }

    /// Which cells there are, and the bytes of those.
    fn plain(&self) -> (Vec<bool>, Vec<u8>) {
        let mut bytes = Vec::new();
        let there = match self {
            Self::Counts(cells) => {
                cells.iter().flatten().for_each(|cell| bytes.extend(cell.to_le_bytes()));
                cells.iter().map(Option::is_some).collect()
            }
            Self::Numbers(cells) => {
                cells.iter().flatten().for_each(|cell| bytes.extend(cell.to_le_bytes()));
                cells.iter().map(Option::is_some).collect()
            }
            Self::Texts(cells) => {
                for cell in cells.iter().flatten() {
                    bytes.extend(u32::try_from(cell.len()).unwrap_or(u32::MAX).to_le_bytes());
                    bytes.extend(cell.as_bytes());
                }
                cells.iter().map(Option::is_some).collect()
            }
        };
        (there, bytes)
    }
}

/// Writes a table. All columns are of a length.
pub(super) fn write(out: &mut dyn Write, columns: &[(&str, Column)], rows: usize) -> io::Result<()> {
    let mut at = MAGIC.len();
    out.write_all(MAGIC)?;
    let mut chunks = Vec::new();
    for (_, column) in columns {
        let (there, values) = column.plain();
        let levels = levels(&there);
        let size = levels.len() + values.len();
        let head = page(rows, size);
        out.write_all(&head)?;
        out.write_all(&levels)?;
        out.write_all(&values)?;
        chunks.push((at, head.len() + size));
        at += head.len() + size;
    }
    let foot = foot(columns, rows, &chunks);
    out.write_all(&foot)?;
    out.write_all(&u32::try_from(foot.len()).map_err(io::Error::other)?.to_le_bytes())?;
    out.write_all(MAGIC)
}

/// Definition levels of one bit: runs of the same, each with its length, and their length in bytes before them.
fn levels(there: &[bool]) -> Vec<u8> {
    let mut runs = Vec::new();
    for run in there.chunk_by(|one, next| one == next) {
        varint(&mut runs, (run.len() as u64) << 1);
        runs.push(u8::from(run[0]));
    }
    let mut levels = u32::try_from(runs.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    levels.extend(runs);
    levels
}

fn page(rows: usize, size: usize) -> Vec<u8> {
    let mut it = Struct::default();
    it.int(1, I32, DATA_PAGE);
    it.int(2, I32, long(size));
    it.int(3, I32, long(size));
    it.inner(5, |data| {
        data.int(1, I32, long(rows));
        data.int(2, I32, PLAIN);
        data.int(3, I32, RLE);
        data.int(4, I32, RLE);
    });
    it.end()
}

fn foot(columns: &[(&str, Column)], rows: usize, chunks: &[(usize, usize)]) -> Vec<u8> {
    let mut it = Struct::default();
    it.int(1, I32, 1);
    let mut root = Struct::default();
    root.text(4, "squall");
    root.int(5, I32, long(columns.len()));
    let leaf = |(name, column): &(&str, Column)| {
        let mut leaf = Struct::default();
        leaf.int(1, I32, column.physical());
        leaf.int(3, I32, OPTIONAL);
        leaf.text(4, name);
        if let Some(converted) = column.converted() {
            leaf.int(6, I32, converted);
        }
        leaf.end()
    };
    it.list(2, STRUCT, std::iter::once(root.end()).chain(columns.iter().map(leaf)).collect());
    it.int(3, I64, long(rows));
    let chunk = |((name, column), (at, size)): (&(&str, Column), &(usize, usize))| {
        let mut chunk = Struct::default();
        chunk.int(2, I64, long(*at));
        chunk.inner(3, |meta| {
            meta.int(1, I32, column.physical());
            meta.list(2, I32, [PLAIN, RLE].map(zigzag).into());
            meta.list(3, BINARY, vec![binary(name)]);
            meta.int(4, I32, UNCOMPRESSED);
            meta.int(5, I64, long(rows));
            meta.int(6, I64, long(*size));
            meta.int(7, I64, long(*size));
            meta.int(9, I64, long(*at));
        });
        chunk.end()
    };
    let mut group = Struct::default();
    group.list(1, STRUCT, columns.iter().zip(chunks).map(chunk).collect());
    group.int(2, I64, long(chunks.iter().map(|(_, size)| size).sum()));
    group.int(3, I64, long(rows));
    it.list(4, STRUCT, vec![group.end()]);
    it.text(6, concat!("squall version ", env!("CARGO_PKG_VERSION")));
    it.end()
}

// Types of Thrift's compact protocol.
const I32: u8 = 5;
const I64: u8 = 6;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// A struct in Thrift's compact protocol, field by field in ascending order.
#[derive(Default)]
struct Struct {
    bytes: Vec<u8>,
    last: u8,
}

impl Struct {
    fn field(&mut self, id: u8, of: u8) {
        // Fields here are never more than 15 apart.
        self.bytes.push((id - self.last) << 4 | of);
        self.last = id;
    }

    fn int(&mut self, id: u8, of: u8, value: i64) {
        self.field(id, of);
        self.bytes.extend(zigzag(value));
    }

    fn text(&mut self, id: u8, text: &str) {
        self.field(id, BINARY);
        self.bytes.extend(binary(text));
    }

    fn list(&mut self, id: u8, of: u8, items: Vec<Vec<u8>>) {
        self.field(id, LIST);
        match u8::try_from(items.len()) {
            Ok(few @ 0..=14) => self.bytes.push(few << 4 | of),
            Ok(_) | Err(_) => {
                self.bytes.push(0xf0 | of);
                varint(&mut self.bytes, items.len() as u64);
            }
        }
        items.iter().for_each(|item| self.bytes.extend(item));
    }

    fn inner(&mut self, id: u8, fill: impl FnOnce(&mut Self)) {
        self.field(id, STRUCT);
        let mut inner = Self::default();
        fill(&mut inner);
        self.bytes.extend(inner.end());
    }

    fn end(mut self) -> Vec<u8> {
        self.bytes.push(0);
        self.bytes
    }
}

fn binary(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint(&mut bytes, text.len() as u64);
    bytes.extend(text.as_bytes());
    bytes
}

fn zigzag(value: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint(&mut bytes, ((value << 1) ^ (value >> 63)).cast_unsigned());
    bytes
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn long(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_compact_protocol_are_those_of_its_definition() {
        // https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
        let varint = |value| {
            let mut bytes = Vec::new();
            super::varint(&mut bytes, value);
            bytes
        };
        assert_eq!((varint(0), varint(127), varint(50_399)), (vec![0], vec![0x7f], vec![0xdf, 0x89, 0x03]));
        assert_eq!((zigzag(0), zigzag(-1), zigzag(1), zigzag(-2)), (vec![0], vec![1], vec![2], vec![3]));
    }

    #[test]
    fn levels_are_runs() {
        assert_eq!(levels(&[true; 200]), [3, 0, 0, 0, 0x90, 0x03, 1]);
        assert_eq!(levels(&[true, false, false]), [4, 0, 0, 0, 2, 1, 4, 0]);
        assert_eq!(levels(&[]), [0, 0, 0, 0]);
    }

    #[test]
    fn a_file_begins_and_ends_with_its_name_and_says_where_its_foot_is() {
        let columns =
            [("a", Column::Texts(vec![Some("x".into()), None])), ("n", Column::Counts(vec![Some(7), Some(8)]))];
        let mut file = Vec::new();
        write(&mut file, &columns, 2).expect("memory takes every byte");
        assert!(file.starts_with(MAGIC) && file.ends_with(MAGIC));
        let length = file[file.len() - 8..file.len() - 4].try_into().map(u32::from_le_bytes).expect("four bytes");
        let foot = &file[file.len() - 8 - length as usize..file.len() - 8];
        assert!(foot.windows(6).any(|bytes| bytes == b"squall") && foot.ends_with(&[0]), "{foot:?}");
    }
}

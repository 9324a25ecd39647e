//! Where scenario files come from, and how they are refused.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use squall_control::Mistake;
use squall_control::yaml::Value;

/// A source of files: the disk, or a set of texts.
pub trait Files {
    /// The text of a file.
    ///
    /// # Errors
    /// It is not there, cannot be read or is not UTF-8.
    fn read(&self, path: &Path) -> io::Result<String>;

    /// Files in a directory and everywhere below it, sorted; without those whose name (or whose directory's) begins with a dot.
    ///
    /// # Errors
    /// It is not there, cannot be read or is not a directory.
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>>;
}

/// The longest file that is read.
const FILE_BYTES: u64 = 64 << 20;

/// Files of the disk. None is longer than 64 MiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<String> {
        let mut text = String::new();
        std::fs::File::open(path)?.take(FILE_BYTES + 1).read_to_string(&mut text)?;
        if text.len() as u64 > FILE_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {} MiB", FILE_BYTES >> 20)));
        }
        Ok(text)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let mut todo = vec![directory.to_path_buf()];
        while let Some(directory) = todo.pop() {
            for entry in std::fs::read_dir(&directory)? {
                let entry = entry?;
                if entry.file_name().to_string_lossy().starts_with('.') {
                    continue;
                }
                if entry.file_type()?.is_dir() {
                    todo.push(entry.path());
                } else {
                    found.push(entry.path());
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

/// Files that are texts in memory, by path: for tests and generated scenarios.
#[derive(Clone, Debug, Default)]
pub struct Memory(pub BTreeMap<PathBuf, String>);

impl Memory {
    /// These files.
    #[must_use]
    pub fn new<'t>(files: impl IntoIterator<Item = (&'t str, &'t str)>) -> Self {
        Self(files.into_iter().map(|(path, text)| (path.into(), text.to_owned())).collect())
    }
}

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.0.get(path).cloned().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such file"))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.0.keys().filter(|path| path.starts_with(directory)).cloned().collect())
    }
}

/// Why files were refused: every mistake, and the texts they stand in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// By file, in the order of their places. Not empty.
    pub mistakes: Vec<Mistake>,
    /// The text of every file that was read, by [`squall_control::Place::file`].
    pub sources: BTreeMap<Arc<str>, Arc<str>>,
}

impl Refusal {
    /// The text a mistake stands in; empty if the file could not be read.
    #[must_use]
    pub fn source(&self, mistake: &Mistake) -> &str {
        self.sources.get(&mistake.place.file).map_or("", |text| text)
    }
}

impl fmt::Display for Refusal {
    /// Every mistake with its line and caret, as plain text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            let gap = if index == 0 { "" } else { "\n" };
            write!(f, "{gap}{}", mistake.render(self.source(mistake)))?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

/// The files read so far, and every path referred to.
pub(super) struct Reading<'f> {
    files: &'f dyn Files,
    sources: RefCell<BTreeMap<Arc<str>, Arc<str>>>,
    referred: RefCell<BTreeSet<PathBuf>>,
}

impl<'f> Reading<'f> {
    pub(super) fn new(files: &'f dyn Files) -> Self {
        Self { files, sources: RefCell::default(), referred: RefCell::default() }
    }

    /// The file's name for places, and its text.
    pub(super) fn text(&self, path: &Path) -> io::Result<(Arc<str>, Arc<str>)> {
        let name: Arc<str> = path.to_string_lossy().into();
        if let Some(known) = self.sources.borrow().get(&name) {
            return Ok((name, Arc::clone(known)));
        }
        let text: Arc<str> = self.files.read(path)?.into();
        self.sources.borrow_mut().insert(Arc::clone(&name), Arc::clone(&text));
        Ok((name, text))
    }

    pub(super) fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        self.files.list(directory)
    }

    /// The file that another one refers to as `value`, relative to that one.
    pub(super) fn referred(&self, value: Value<'_>) -> Option<(Arc<str>, Arc<str>)> {
        let path = beside(&value.place().file, value.name()?);
        self.referred.borrow_mut().insert(path.clone());
        match self.text(&path) {
            Ok(file) => Some(file),
            Err(error) => value.refuse(format!("cannot read {}: {error}", path.display())),
        }
    }

    /// Notes that a file refers to others, relative to it.
    pub(super) fn refer<'p>(&self, file: &str, others: impl IntoIterator<Item = &'p str>) {
        self.referred.borrow_mut().extend(others.into_iter().map(|other| beside(file, other)));
    }

    /// Whether a file that was read refers to this one.
    pub(super) fn is_referred(&self, path: &Path) -> bool {
        self.referred.borrow().contains(path)
    }

    pub(super) fn refusal(self, mistakes: Vec<Mistake>) -> Refusal {
        Refusal { mistakes, sources: self.sources.into_inner() }
    }
}

/// A mistake of a file that was read several times, only once.
pub(crate) fn once(mistakes: Vec<Mistake>) -> Vec<Mistake> {
    let mut seen: Vec<Mistake> = Vec::new();
    for mistake in mistakes {
        if !seen.contains(&mistake) {
            seen.push(mistake);
        }
    }
    seen
}

/// The path that `text`, in the file called `file`, means: relative to that file, without `.` and `..`.
pub(crate) fn beside(file: &str, text: &str) -> PathBuf {
    let mut path = Path::new(file).parent().unwrap_or(Path::new("")).to_path_buf();
    for part in Path::new(text).components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                if path.file_name().is_none_or(|name| name == "..") || !path.pop() {
                    path.push("..");
                }
            }
            std::path::Component::Normal(_) | std::path::Component::RootDir | std::path::Component::Prefix(_) => {
                path.push(part)
            }
        }
    }
    path
}

//! Files of a running process: the directory it follows, and single ones.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use squall_control::watch::{Files, Texts, nothing_in};
use squall_control::{Mistake, Place, SecretSource};

use crate::logs::{Log, LogFormat};
use crate::mistakes;

/// The longest file that is read.
const FILE_BYTES: u64 = 16 << 20;

/// Directories below the one that is followed, at most so deep: a link to a parent does not lead round and round.
const DEPTH: usize = 16;

/// A directory of mesh files (or one file), and another file beside it.
pub(crate) struct Followed {
    /// Every `.yaml` and `.yml` file in it, at any depth, but for hidden ones.
    pub(crate) mesh: PathBuf,
    /// Read as well.
    pub(crate) also: Option<PathBuf>,
}

impl Files for Followed {
    fn read(&self) -> Result<Texts, Box<Mistake>> {
        let mut texts = Texts::new();
        if self.mesh.is_dir() {
            gather(&self.mesh, DEPTH, &mut texts)?;
        } else {
            add(&self.mesh, &mut texts)?;
        }
        if texts.is_empty() {
            return Err(nothing_in(&self.mesh.to_string_lossy()));
        }
        if let Some(also) = &self.also {
            add(also, &mut texts)?;
        }
        Ok(texts)
    }
}

fn gather(directory: &Path, depth: usize, texts: &mut Texts) -> Result<(), Box<Mistake>> {
    let cannot = |error| cannot_read(directory, &error);
    for entry in fs::read_dir(directory).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        // Hidden ones are an editor's, or the machinery of a ConfigMap volume.
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            if depth > 0 {
                gather(&path, depth - 1, texts)?;
            }
        } else if path.extension().is_some_and(|end| end == "yaml" || end == "yml") {
            add(&path, texts)?;
        }
    }
    Ok(())
}

fn add(path: &Path, texts: &mut Texts) -> Result<(), Box<Mistake>> {
    let text = read(path)?;
    texts.insert(path.to_string_lossy().into(), text.into());
    Ok(())
}

/// A token in a file of its own.
///
/// # Errors
/// The file and what is wrong with it, without a word of what is in it.
pub(crate) fn secret(path: &Path) -> Result<String, String> {
    let text = read(path).map_err(|mistake| mistake.to_string())?;
    let token = text.trim();
    if token.is_empty() || token.contains(char::is_whitespace) {
        return Err(format!("{}: it must hold just the token", path.display()));
    }
    Ok(token.to_owned())
}

/// Reads it anew each time: Kubernetes replaces tokens before they end.
pub(crate) fn secret_source(path: &Path) -> SecretSource {
    let path = path.to_owned();
    Arc::new(move || secret(&path))
}

/// The text of a file.
pub(crate) fn read(path: &Path) -> Result<String, Box<Mistake>> {
    let length = fs::metadata(path).map_err(|error| cannot_read(path, &error))?.len();
    if length > FILE_BYTES {
        let what = format!("it has {length} bytes, more than {FILE_BYTES}");
        return Err(Box::new(Mistake::new(&Place::whole(&path.to_string_lossy()), what)));
    }
    fs::read_to_string(path).map_err(|error| cannot_read(path, &error))
}

fn cannot_read(path: &Path, error: &io::Error) -> Box<Mistake> {
    Box::new(Mistake::new(&Place::whole(&path.to_string_lossy()), format!("cannot read it: {error}")))
}

/// Shows mistakes while a process runs: drawn for people, or as log events.
pub(crate) struct Shown {
    pub(crate) log: Log,
    pub(crate) format: LogFormat,
    pub(crate) color: bool,
    /// The file of which no line is shown, but only where its mistakes are.
    pub(crate) secret: Option<PathBuf>,
}

impl Shown {
    pub(crate) fn show(&self, found: &[Mistake], texts: &Texts) {
        let mut texts = texts.clone();
        if let Some(secret) = &self.secret {
            texts.remove(&*secret.to_string_lossy());
        }
        for mistake in found {
            match self.format {
                LogFormat::Json => {
                    let help = mistake.help.as_deref().unwrap_or_default();
                    tracing::warn!(place = %mistake.place, help, "{}", mistake.message);
                }
                LogFormat::Text => self.log.aside(&mistakes::draw(mistake, &texts, self.color)),
            }
        }
    }
}

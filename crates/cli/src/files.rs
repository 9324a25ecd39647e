//! Result files that never look whole before they are.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A file in the making. It is written as `NAME.partial` beside its place, and takes its place when it is done; if it
/// never gets there, it goes away. What is there and is no file (a pipe, a terminal, `/dev/null`) is written to as it is.
pub(crate) struct Pending {
    path: PathBuf,
    /// `None`: written in place.
    partial: Option<PathBuf>,
    out: Option<BufWriter<File>>,
}

impl Pending {
    /// Starts a file at `path`; what was there stays until [`Pending::finish`].
    ///
    /// # Errors
    /// Why nothing can be written there, with the path.
    pub(crate) fn start(path: &Path) -> Result<Self, String> {
        // A link stays a link: what it leads to is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let Some(name) = path.file_name().filter(|_| !path.is_dir()) else {
            return Err(format!("cannot write {}: it is a directory", path.display()));
        };
        let partial = (!path.exists() || path.is_file()).then(|| {
            let mut partial = name.to_os_string();
            partial.push(".partial");
            path.with_file_name(partial)
        });
        let at = partial.as_ref().unwrap_or(&path);
        #[expect(clippy::disallowed_methods, reason = "this is where files are written beside their place")]
        let file = File::create(at).map_err(|e| format!("cannot write {}: {}", path.display(), why(&e)))?;
        Ok(Self { path, partial, out: Some(BufWriter::new(file)) })
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// What the machine says, with the path.
    pub(crate) fn finish(mut self) -> Result<(), String> {
        let Some(out) = self.out.take() else { return Ok(()) };
        let Self { path, partial, .. } = &self;
        let written = out.into_inner().map_err(io::IntoInnerError::into_error);
        let done = match partial {
            Some(partial) => written.and_then(|file| file.sync_all()).and_then(|()| fs::rename(partial, path)),
            None => written.map(drop),
        };
        done.map_err(|e| {
            self.discard();
            format!("cannot write {}: {e}", self.path.display())
        })
    }

    fn discard(&self) {
        if let Some(partial) = &self.partial {
            let _ = fs::remove_file(partial);
        }
    }
}

impl Write for Pending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.as_mut().map_or(Ok(0), |out| out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.as_mut().map_or(Ok(()), BufWriter::flush)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.out.take().is_some() {
            self.discard();
        }
    }
}

fn why(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound {
        return "there is no such directory".into();
    }
    error.to_string()
}

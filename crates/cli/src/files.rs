//! Result files that never look whole before they are.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A file in the making. It is written as `NAME.partial` beside its place, and takes its place when it is done; if it
/// never gets there, it goes away.
pub(crate) struct Pending {
    path: PathBuf,
    partial: PathBuf,
    out: Option<BufWriter<File>>,
}

impl Pending {
    /// Starts a file at `path`; what was there stays until [`Pending::finish`].
    ///
    /// # Errors
    /// Why nothing can be written there, with the path.
    pub(crate) fn start(path: &Path) -> Result<Self, String> {
        let Some(name) = path.file_name().filter(|_| !path.is_dir()) else {
            return Err(format!("cannot write {}: it is a directory", path.display()));
        };
        let mut partial = name.to_os_string();
        partial.push(".partial");
        let partial = path.with_file_name(partial);
        #[expect(clippy::disallowed_methods, reason = "this is where files are written beside their place")]
        let file = File::create(&partial).map_err(|e| format!("cannot write {}: {}", path.display(), why(&e)))?;
        Ok(Self { path: path.to_path_buf(), partial, out: Some(BufWriter::new(file)) })
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// What the machine says, with the path.
    pub(crate) fn finish(mut self) -> Result<(), String> {
        let Some(out) = self.out.take() else { return Ok(()) };
        let done = out.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| file.sync_all());
        done.and_then(|()| fs::rename(&self.partial, &self.path)).map_err(|e| {
            let _ = fs::remove_file(&self.partial);
            format!("cannot write {}: {e}", self.path.display())
        })
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
            let _ = fs::remove_file(&self.partial);
        }
    }
}

fn why(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound {
        return "there is no such directory".into();
    }
    error.to_string()
}

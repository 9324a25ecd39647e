//! Follows files: what they say is put in force when it is good and has stood still; else the last good state stays.
//!
//! ```text
//!           changed                 the same at the next look
//!  in force ───────▶ settling ─────────────────────────────▶ taken   (in force)
//!     ▲                 │ changed again: settling anew        │
//!     └─────────────────┴──── refused: told once per content ◀┘
//! ```
//!
//! A file that is being written is seen half at most once: two looks in a row must find the same. Source: Kubernetes' own
//! ConfigMap volumes change by one rename, editors and scripts do not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use squall_net::{Host, after};

use crate::{Mistake, Place};

/// How often is looked. What changes is in force within three looks.
pub const EVERY: Duration = Duration::from_millis(250);

/// The texts of files by name.
pub type Texts = BTreeMap<Arc<str>, Arc<str>>;

/// Where files are read.
pub trait Files: Send + Sync + 'static {
    /// All of them as they are now.
    ///
    /// # Errors
    /// A mistake at the file or directory that cannot be read.
    fn read(&self) -> Result<Texts, Box<Mistake>>;
}

/// Takes what the files say.
pub trait Taker: Send + Sync + 'static {
    /// Puts it in force.
    ///
    /// # Errors
    /// What is wrong with it; then nothing has changed.
    fn take(&self, files: &Texts) -> Result<(), Vec<Mistake>>;

    /// It is in force.
    fn taken(&self, files: &Texts);

    /// It was refused; what was in force before stays. Called once for each content.
    fn refused(&self, mistakes: &[Mistake], files: &Texts);
}

/// The files' content, as far as it was looked at.
#[derive(Debug, Default)]
struct Seen {
    /// At the last look.
    last: Option<Result<Texts, Box<Mistake>>>,
    /// Taken or refused already.
    judged: Option<Result<Texts, Box<Mistake>>>,
}

impl Seen {
    /// What is to be judged now: it stood still since the last look, and is not what was judged last.
    fn look(&mut self, now: Result<Texts, Box<Mistake>>) -> Option<Result<Texts, Box<Mistake>>> {
        let settled = self.last.as_ref() == Some(&now);
        if settled && self.judged.as_ref() != Some(&now) {
            self.judged = Some(now.clone());
            return Some(now);
        }
        self.last = Some(now);
        None
    }
}

/// Reads the files once and takes them, for the start.
///
/// # Errors
/// The mistakes, with the texts to show them in.
pub fn first(files: &dyn Files, taker: &dyn Taker) -> Result<Texts, (Vec<Mistake>, Texts)> {
    let texts = files.read().map_err(|mistake| (vec![*mistake], Texts::new()))?;
    taker.take(&texts).map_err(|mistakes| (mistakes, texts.clone()))?;
    Ok(texts)
}

/// Looks at the files every [`EVERY`], from what [`first`] gave, until it is dropped.
pub async fn follow(host: Host, files: Arc<dyn Files>, taker: Arc<dyn Taker>, first: Texts) {
    let mut seen = Seen { last: Some(Ok(first.clone())), judged: Some(Ok(first)) };
    loop {
        after(host.clock().as_ref(), EVERY).await;
        match seen.look(files.read()) {
            None => {}
            Some(Err(mistake)) => taker.refused(&[*mistake], &Texts::new()),
            Some(Ok(texts)) => match taker.take(&texts) {
                Ok(()) => taker.taken(&texts),
                Err(mistakes) => taker.refused(&mistakes, &texts),
            },
        }
    }
}

/// That there is nothing where there should be files: never taken for "no mesh any more".
#[must_use]
pub fn nothing_in(directory: &str) -> Box<Mistake> {
    let mistake = Mistake::new(&Place::whole(directory), "there is no .yaml or .yml file in it");
    Box::new(mistake.help("put the mesh's Kubernetes manifests there"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Result<Texts, Box<Mistake>> {
        Ok(Texts::from([("a.yaml".into(), text.into())]))
    }

    #[test]
    fn only_what_stood_still_for_two_looks_is_judged_and_only_once() {
        let mut seen = Seen { last: Some(texts("old")), judged: Some(texts("old")) };
        assert_eq!(seen.look(texts("old")), None);
        assert_eq!(seen.look(texts("ha")), None, "half written");
        assert_eq!(seen.look(texts("half")), None, "written on");
        assert_eq!(seen.look(texts("half")), Some(texts("half")));
        assert_eq!(seen.look(texts("half")), None, "judged already");
    }

    #[test]
    fn what_comes_back_is_judged_again() {
        let mut seen = Seen { last: Some(texts("good")), judged: Some(texts("good")) };
        for text in ["bad", "good"] {
            assert_eq!(seen.look(texts(text)), None);
            assert_eq!(seen.look(texts(text)), Some(texts(text)), "so that a mistake that is mended is seen to be");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_read_is_told_once() {
        let gone = || Err(nothing_in("mesh"));
        let mut seen = Seen { last: Some(texts("good")), judged: Some(texts("good")) };
        assert_eq!(seen.look(gone()), None);
        assert_eq!(seen.look(gone()), Some(gone()));
        assert_eq!(seen.look(gone()), None);
    }
}

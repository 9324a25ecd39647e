//! How the process ends.

use std::process::ExitCode;

/// The exit codes, from the one that matters least to the one that hides all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// 0: every expectation held.
    Pass,
    /// 1: an expectation failed, or a run broke.
    Failed,
    /// 2: the arguments or the files are wrong.
    BadInput,
    /// 3: the same seed gave two histories.
    Nondeterminism,
    /// 4: the machine failed us (a full disk, say); trying again may help.
    Infrastructure,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Pass => 0,
            Exit::Failed => 1,
            Exit::BadInput => 2,
            Exit::Nondeterminism => 3,
            Exit::Infrastructure => 4,
        }
        .into()
    }
}

//! How the process ends.

use std::process::ExitCode;

use squall_sim::RunError;

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

impl Exit {
    /// Of a run that came to no verdict.
    pub(crate) fn of(error: &RunError) -> Self {
        match (error.is_bad_input(), error.is_infrastructure()) {
            (true, _) => Self::BadInput,
            (false, true) => Self::Infrastructure,
            (false, false) => Self::Failed,
        }
    }
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

//! Planted bugs, to test the tests with: `tests/mutants/run`.
//!
//! `mutant!("name", right, wrong)` is `right`, and nothing else, in every ordinary build. Only under `--cfg squall_mutants`, in a
//! target directory of its own, it is `wrong` while the environment says `SQUALL_MUTANT=name`. `tests/mutants/mutants.csv` lists
//! what each one breaks and which test must catch it.

#[cfg(not(squall_mutants))]
macro_rules! mutant {
    ($name:literal, $right:expr, $wrong:expr $(,)?) => {
        $right
    };
}

#[cfg(squall_mutants)]
macro_rules! mutant {
    ($name:literal, $right:expr, $wrong:expr $(,)?) => {
        if crate::mutant::is_planted($name) { $wrong } else { $right }
    };
}

/// Whether this run has that bug.
#[cfg(squall_mutants)]
#[expect(clippy::disallowed_methods, reason = "only in builds for the tests of the tests")]
pub(crate) fn is_planted(name: &str) -> bool {
    static PLANTED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    PLANTED.get_or_init(|| std::env::var("SQUALL_MUTANT").ok()).as_deref() == Some(name)
}

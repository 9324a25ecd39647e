//! The search of `squall tune`: which settings are best, of many, when each look at one costs runs and nothing is known of the
//! function behind it.
//!
//! ```text
//!   Latin hypercube ─▶ round: differential evolution + some at random ─▶ race over seeds ─▶ keep the best ─▶ next round
//! ```
//!
//! - The first round is a Latin hypercube (McKay, Beckman and Conover 1979): each knob's range is covered evenly, however few
//!   candidates there are.
//! - Later rounds are differential evolution, DE/rand/1/bin with dithered weights (Storn and Price 1997), and one candidate in
//!   eight at random. Who stays is decided over parents and children together by non-dominated sorting and crowding (NSGA-II,
//!   Deb et al. 2002), as in GDE3 (Kukkonen and Lampinen 2005). A candidate that breaks constraints comes after every one that
//!   breaks none, and among those the one that breaks less comes first (Deb 2000).
//! - Candidates of a round race over the seeds by successive halving (Karnin, Koren and Somekh 2013; Jamieson and Talwalkar
//!   2016): all run on a quarter of them, the better half on twice as many. Everybody runs on the same seeds (common random
//!   numbers), so that differences are the candidates' and not the dice's.
//!
//! Everything is decided by one die, a candidate's scores and its number; never by which thread was first.

mod optimiser;
mod rank;

pub use optimiser::{Dimension, Optimiser, Point};
pub use rank::{Score, best_first, front};

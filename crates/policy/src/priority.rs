//! How much a request matters, and which of equals is sent away first: the same one everywhere.
//!
//! ```text
//!   squall-priority: critical | default | sheddable ─▶ class ┐
//!                                                            ├─▶ rank: class first, then key
//!   x-request-id ─▶ (hash) ─▶ key ───────────────────────────┘
//! ```
//!
//! Both headers travel along the call graph, as applications pass on `traceparent`. All proxies rank all calls made for one
//! request alike, so what was let in at one service is not sent away at the next one that is as overloaded: with independent
//! dice, a request that makes four calls to a service that can take half of them succeeds one time in sixteen, by rank one
//! time in two.
//!
//! Sources: "Overload control for scaling WeChat microservices" (DAGOR, SoCC 2018): business and user priority, by a hash;
//! Google's SRE book, chapter 21: criticality, which propagates. The class has a header of its own because `priority`
//! (RFC 9218) is about the order in which one client's answers are sent, and browsers set it on every request.

use std::fmt;

/// How much a request matters. Sorted: what is served first is least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Sent away last: users see it fail.
    Critical,
    /// What says nothing else.
    #[default]
    Default,
    /// Sent away first: batch jobs, prefetching, what is repeated later.
    Sheddable,
}

impl Class {
    /// All, the highest first.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Default, Self::Sheddable];

    /// The class of this word in the header `squall-priority`, whatever its case. `None`: it is not one.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| word.trim().eq_ignore_ascii_case(class.as_str()))
    }

    /// The word for headers and logs: `sheddable`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Default => "default",
            Self::Sheddable => "sheddable",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A request's place in the order in which requests are kept. Sorted: what is kept is least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    /// Its class.
    pub class: Class,
    /// Of one class, the least key is kept longest.
    pub key: u32,
}

impl Rank {
    /// The rank of a request with this `x-request-id`. FNV-1a (64 bits) and a finaliser: the same in every proxy of every
    /// version, and uniform even for ids that count up.
    #[must_use]
    pub fn new(class: Class, request_id: &str) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in request_id.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        // MurmurHash3's finaliser.
        hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        let counts = mutant!("shedding-is-blind-to-the-class", class, Class::Default);
        Self { class: counts, key: (hash ^ hash >> 33) as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_known_by_its_word_and_nothing_else() {
        for class in Class::ALL {
            assert_eq!(Class::parse(&class.to_string().to_uppercase()), Some(class));
        }
        assert_eq!(Class::parse(" sheddable "), Some(Class::Sheddable));
        for word in ["", "u=1", "high", "criticaL+"] {
            assert_eq!(Class::parse(word), None, "{word}");
        }
        assert!(Class::Critical < Class::Default && Class::Default < Class::Sheddable);
    }

    #[test]
    fn the_class_counts_before_the_key_and_the_key_is_stable() {
        let other = Rank::new(Class::Default, "x");
        assert!((0..1000).all(|n| Rank::new(Class::Critical, &n.to_string()) < other));
        // A change of these numbers makes proxies of two versions disagree.
        for (id, key) in [("", 0xba99_2926), ("1", 0xe020_d3d6), ("7c3ec8d2-a1a0-4b8e-9c1f-0d8a7f1b2c3d", 0x0240_1603)]
        {
            assert_eq!(Rank::new(Class::Default, id).key, key, "{id}");
        }
    }

    #[test]
    fn keys_of_ids_that_count_up_are_uniform() {
        let mut seen = [0_u32; 16];
        for id in 0..16_000 {
            seen[(Rank::new(Class::Default, &id.to_string()).key >> 28) as usize] += 1;
        }
        assert!(seen.iter().all(|count| (880..1120).contains(count)), "{seen:?}");
    }
}

//! Series of one family, and the names in their labels: both bounded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use squall_net::exposition::Exposition;

use super::{NAMES, SERIES};
use crate::Side;

/// A name by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name(u32);

impl Name {
    /// There is none.
    pub(super) const NONE: Self = Self(0);
    /// One of those for which there is no room.
    pub(super) const OTHER: Self = Self(1);

    /// That of the text at this place.
    fn of(place: usize) -> Self {
        Self(u32::try_from(place + 2).expect("there are fewer names"))
    }

    /// The place of its text; it has one.
    fn place(self) -> usize {
        self.0 as usize - 2
    }
}

/// Names and their numbers.
#[derive(Default)]
pub(super) struct Names {
    numbers: BTreeMap<Arc<str>, Name>,
    texts: Vec<Arc<str>>,
    /// Where in `texts` the name is that was asked for last: often the next one too.
    last: usize,
    /// How often a name found no room.
    pub(super) folded: u64,
}

impl Names {
    /// The number of a name, a new one if there is room.
    pub(super) fn name(&mut self, text: &str) -> Name {
        if self.texts.get(self.last).is_some_and(|last| **last == *text) {
            return Name::of(self.last);
        }
        if let Some(name) = self.numbers.get(text) {
            self.last = name.place();
            return *name;
        }
        if self.texts.len() >= NAMES {
            self.folded += 1;
            return Name::OTHER;
        }
        let shared: Arc<str> = text.into();
        self.texts.push(Arc::clone(&shared));
        let name = Name::of(self.texts.len() - 1);
        self.numbers.insert(shared, name);
        name
    }

    pub(super) fn text(&self, name: Name) -> &str {
        match name {
            Name::NONE => "",
            Name::OTHER => "other",
            name => &self.texts[name.place()],
        }
    }
}

/// What distinguishes the series of a family.
pub(super) trait Labels: Ord + Copy {
    /// Those of the series that takes what finds no room.
    fn folded(self) -> Self;
}

macro_rules! labels {
    ($($kind:ty: $given:ident => $folded:expr;)*) => {$(
        impl Labels for $kind {
            fn folded(self) -> Self {
                let $given = self;
                $folded
            }
        }
    )*};
}

labels! {
    Name: _name => Name::OTHER;
    (Side, &'static str): given => given;
    (Name, bool): given => (Name::OTHER, given.1);
    (Name, &'static str): given => (Name::OTHER, given.1);
    (Side, Name, Name): given => (given.0, Name::OTHER, Name::OTHER);
    (Name, Name, &'static str): given => (Name::OTHER, Name::OTHER, given.2);
    (Side, Name, Name, &'static str): given => (given.0, Name::OTHER, Name::OTHER, given.3);
    (Side, Name, Name, u8): given => (given.0, Name::OTHER, Name::OTHER, 0);
    (Side, Name, Name, u16, &'static str): given => (given.0, Name::OTHER, Name::OTHER, 0, "other");
}

/// The series of one family.
pub(super) struct Family<L, V> {
    /// Where in `values` each is.
    series: BTreeMap<L, usize>,
    values: Vec<V>,
    /// What was asked for last, often the next one too, and where it is.
    last: Option<(L, usize)>,
    folded: u64,
}

impl<L, V> Default for Family<L, V> {
    fn default() -> Self {
        Self { series: BTreeMap::new(), values: Vec::new(), last: None, folded: 0 }
    }
}

impl<L: Labels, V: Default> Family<L, V> {
    /// The series with these labels, or the one for those that find no room.
    pub(super) fn at(&mut self, labels: L) -> &mut V {
        if let Some((last, place)) = self.last
            && last == labels
        {
            return &mut self.values[place];
        }
        let full = self.series.len() >= SERIES && !self.series.contains_key(&labels);
        let labels = if full { labels.folded() } else { labels };
        self.folded += u64::from(full);
        let place = *self.series.entry(labels).or_insert_with(|| {
            self.values.push(V::default());
            self.values.len() - 1
        });
        self.last = Some((labels, place));
        &mut self.values[place]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&L, &V)> {
        self.series.iter().map(|(labels, place)| (labels, &self.values[*place]))
    }

    pub(super) fn folded(&self) -> u64 {
        self.folded
    }
}

/// Upper bounds in microseconds, and as Prometheus writes them in seconds.
const BOUNDS: [(u64, &str); 14] = [
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (10_000_000, "10"),
];

/// Spans by size.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    /// Those up to each bound and above the one before; the last: above all.
    counts: [u64; BOUNDS.len() + 1],
    sum: Duration,
}

impl Histogram {
    pub(super) fn add(&mut self, span: Duration) {
        let place = BOUNDS.iter().position(|(bound, _)| span <= Duration::from_micros(*bound));
        self.counts[place.unwrap_or(BOUNDS.len())] += 1;
        self.sum = self.sum.saturating_add(span);
    }

    pub(super) fn render(&self, page: &mut Exposition, name: &str, labels: &[(&str, &str)]) {
        let mut count = 0;
        let bucket = format!("{name}_bucket");
        let bounds = BOUNDS.iter().map(|(_, bound)| *bound).chain(["+Inf"]);
        for (bound, more) in bounds.zip(self.counts) {
            count += more;
            page.sample(&bucket, &[labels, &[("le", bound)]].concat(), count);
        }
        let sum = format!("{}.{:09}", self.sum.as_secs(), self.sum.subsec_nanos());
        page.sample(&format!("{name}_sum"), labels, sum);
        page.sample(&format!("{name}_count"), labels, count);
    }
}

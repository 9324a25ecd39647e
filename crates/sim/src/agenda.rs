//! What happens next, in order of (time, sequence): the queue of events of both models.
//!
//! A heap in which each entry has four below it: half as deep as a binary one, and the four lie side by side in memory. What
//! is pushed first of several events of one time is popped first, so that the order is total and depends on the pushes alone.

/// The events to come.
#[derive(Debug)]
pub(crate) struct Agenda<E> {
    heap: Vec<Entry<E>>,
    sequence: u64,
}

/// Something that will happen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<E> {
    pub(crate) at: u64,
    /// Its place among all that was ever pushed.
    pub(crate) sequence: u64,
    pub(crate) event: E,
}

impl<E> Entry<E> {
    #[inline]
    fn is_before(&self, other: &Self) -> bool {
        // One comparison of 128 bits has no branch in it.
        (u128::from(self.at) << 64 | u128::from(self.sequence))
            < (u128::from(other.at) << 64 | u128::from(other.sequence))
    }
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Self { heap: Vec::new(), sequence: 0 }
    }
}

impl<E: Copy> Agenda<E> {
    /// The number of the next entry, for one that is kept elsewhere until its turn comes near.
    #[inline]
    pub(crate) fn take_number(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    #[inline]
    pub(crate) fn push(&mut self, at: u64, event: E) {
        let sequence = self.take_number();
        self.put(Entry { at, sequence, event });
    }

    /// Adds an entry with a number of its own.
    #[inline]
    pub(crate) fn put(&mut self, entry: Entry<E>) {
        let mut place = self.heap.len();
        self.heap.push(entry);
        while place > 0 {
            let above = (place - 1) / 4;
            if !entry.is_before(&self.heap[above]) {
                break;
            }
            self.heap[place] = self.heap[above];
            place = above;
        }
        self.heap[place] = entry;
    }

    /// The next entry, if its time is before `until`.
    #[inline]
    pub(crate) fn pop(&mut self, until: u64) -> Option<Entry<E>> {
        let first = *self.heap.first().filter(|first| first.at < until)?;
        let last = self.heap.pop().expect("there is a first");
        if !self.heap.is_empty() {
            self.sink(0, last);
        }
        Some(first)
    }

    /// Keeps only those for which `keep` holds.
    pub(crate) fn retain(&mut self, keep: impl Fn(&E) -> bool) {
        self.heap.retain(|entry| keep(&entry.event));
        // Those with something below them, from below.
        for place in (0..self.heap.len().saturating_add(2) / 4).rev() {
            let entry = self.heap[place];
            self.sink(place, entry);
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Puts an entry at a place or below it, where it belongs.
    #[inline]
    fn sink(&mut self, mut place: usize, entry: Entry<E>) {
        let heap = &mut self.heap[..];
        loop {
            let first = place * 4 + 1;
            let below = match heap.get(first..first + 4) {
                Some([a, b, c, d]) => {
                    let left = usize::from(b.is_before(a));
                    let right = 2 + usize::from(d.is_before(c));
                    let (l, r) = (if left == 0 { a } else { b }, if right == 2 { c } else { d });
                    first + if r.is_before(l) { right } else { left }
                }
                Some(_) => unreachable!("a slice of four has four"),
                None => {
                    let rest = heap.get(first..).unwrap_or_default();
                    let mut least = 0;
                    for (number, other) in rest.iter().enumerate().skip(1) {
                        if other.is_before(&rest[least]) {
                            least = number;
                        }
                    }
                    if rest.is_empty() {
                        break;
                    }
                    first + least
                }
            };
            if !heap[below].is_before(&entry) {
                break;
            }
            heap[place] = heap[below];
            place = below;
        }
        heap[place] = entry;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The model is a sorted list.
        #[test]
        fn events_come_in_order_of_time_and_then_of_their_pushes(
            steps in prop::collection::vec((0_u64..20, 0_u8..8), 1..400),
        ) {
            let mut agenda = Agenda::default();
            let mut model: Vec<(u64, usize)> = Vec::new();
            for (number, (time, action)) in steps.into_iter().enumerate() {
                match action {
                    0..5 => {
                        agenda.push(time, number);
                        model.push((time, number));
                    }
                    5..7 => {
                        model.sort_unstable();
                        let want = model.first().copied().filter(|(at, _)| *at < time);
                        if want.is_some() {
                            model.remove(0);
                        }
                        prop_assert_eq!(agenda.pop(time).map(|entry| (entry.at, entry.event)), want);
                    }
                    _ => {
                        agenda.retain(|event| event % 3 != 0);
                        model.retain(|(_, event)| event % 3 != 0);
                    }
                }
                prop_assert_eq!(agenda.len(), model.len());
            }
            model.sort_unstable();
            let mut got = Vec::new();
            while let Some(entry) = agenda.pop(u64::MAX) {
                got.push((entry.at, entry.event));
            }
            prop_assert_eq!(got, model);
        }
    }
}

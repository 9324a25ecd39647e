//! Places that are used again, and keys that know whether they still are who they were.

/// A place and how often it was used before; an old key finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// A key that finds nothing.
    pub(super) const NONE: Self = Self { index: u32::MAX, generation: 0 };
}

/// Things with keys.
pub(super) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

struct Slot<T> {
    generation: u32,
    thing: Option<T>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Keeps a thing.
    pub(super) fn insert(&mut self, thing: T) -> Key {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.thing = Some(thing);
            return Key { index, generation: slot.generation };
        }
        let index = u32::try_from(self.slots.len()).expect("fewer than 2^32 things fit in memory");
        self.slots.push(Slot { generation: 0, thing: Some(thing) });
        Key { index, generation: 0 }
    }

    /// The thing, if it is still there.
    pub(super) fn get(&self, key: Key) -> Option<&T> {
        self.slots.get(key.index as usize).filter(|slot| slot.generation == key.generation)?.thing.as_ref()
    }

    /// The thing, if it is still there.
    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.slots.get_mut(key.index as usize).filter(|slot| slot.generation == key.generation)?.thing.as_mut()
    }

    /// Lets the thing go.
    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize).filter(|slot| slot.generation == key.generation)?;
        let thing = slot.thing.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(thing)
    }

    /// Lets the thing go where it is, which spares a large one the way out.
    pub(super) fn free(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key.index as usize) else { return };
        if slot.generation == key.generation && slot.thing.is_some() {
            slot.thing = None;
            slot.generation = slot.generation.wrapping_add(1);
            self.free.push(key.index);
        }
    }

    /// The keys of all things for which `is` holds, in order of their places.
    pub(super) fn keys(&self, is: impl Fn(&T) -> bool) -> Vec<Key> {
        let slots = (0_u32..).zip(&self.slots);
        slots
            .filter(|(_, slot)| slot.thing.as_ref().is_some_and(&is))
            .map(|(index, slot)| Key { index, generation: slot.generation })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_finds_its_own_thing_and_no_successor() {
        let mut slab = Slab::default();
        let (one, two) = (slab.insert("one"), slab.insert("two"));
        assert_eq!((slab.remove(one), slab.remove(one)), (Some("one"), None));
        let three = slab.insert("three");
        assert_eq!((slab.get(one), slab.get(two), slab.get(three)), (None, Some(&"two"), Some(&"three")));
        assert_eq!(slab.keys(|thing| thing.len() == 3), [two]);
        assert_eq!(slab.get(Key::NONE), None);
    }
}

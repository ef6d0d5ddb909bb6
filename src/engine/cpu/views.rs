//! One allocation seen as several buffers at a time. The only aliasing rule of the CPU device lives here.

use std::ops::Range;

use super::memory::Numbers;

/// Memory of one pool.
#[derive(Debug, Default)]
pub(crate) struct Block<T>(Numbers<T>);

impl<T: Copy + Default> Block<T> {
    pub(crate) fn new(len: usize) -> Self {
        Self(Numbers::new(len))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, range: Range<usize>) -> &[T] {
        &self.0[range]
    }

    pub(crate) fn get_mut(&mut self, range: Range<usize>) -> &mut [T] {
        &mut self.0[range]
    }

    /// Several buffers at once: those that are read, and those that are written.
    ///
    /// # Panics
    /// When one that is written overlaps another, or one lies outside: a fault of the model's plan.
    pub(crate) fn views<const R: usize, const W: usize>(
        &mut self,
        read: [Range<usize>; R],
        written: [Range<usize>; W],
    ) -> ([&[T]; R], [&mut [T]; W]) {
        for (i, one) in written.iter().enumerate() {
            let others = read.iter().chain(&written[i + 1..]);
            for other in others {
                assert!(
                    one.end <= other.start || other.end <= one.start || other.is_empty(),
                    "buffers {one:?} and {other:?} overlap"
                );
            }
        }
        for range in read.iter().chain(&written) {
            assert!(
                range.start <= range.end && range.end <= self.0.len(),
                "buffer {range:?} lies inside"
            );
        }
        let base = self.0.as_mut_ptr();
        // SAFETY: all ranges lie inside the vector, no written one overlaps another, and the borrow of `self` lasts as
        // long as the views, so that nobody else reads or writes meanwhile.
        unsafe {
            (
                read.map(|range| std::slice::from_raw_parts(base.add(range.start), range.len())),
                written.map(|range| {
                    std::slice::from_raw_parts_mut(base.add(range.start), range.len())
                }),
            )
        }
    }
}

/// A matrix that several tasks write, each its own elements: parts of it that do not lie side by side.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a> {
    base: *mut f32,
    len: usize,
    marker: std::marker::PhantomData<&'a mut [f32]>,
}

// SAFETY: a pointer to f32 numbers may travel between threads; who writes where is the callers' promise to `pointer`.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(crate) fn new(all: &'a mut [f32]) -> Self {
        Self {
            base: all.as_mut_ptr(),
            len: all.len(),
            marker: std::marker::PhantomData,
        }
    }

    /// A pointer to element `start`, from which `rows` rows of `width` elements lie `stride` apart.
    ///
    /// # Panics
    /// When they do not lie inside.
    pub(crate) fn pointer(
        self,
        start: usize,
        rows: usize,
        width: usize,
        stride: usize,
    ) -> *mut f32 {
        if rows > 0 {
            assert!(
                start + (rows - 1) * stride + width <= self.len,
                "the part lies inside"
            );
        }
        // SAFETY: the offset lies inside the allocation, as asserted.
        unsafe { self.base.add(start.min(self.len)) }
    }

    /// Row `row` of a part as a slice.
    ///
    /// # Safety
    /// No other task may touch these elements while the slice lives.
    pub(crate) unsafe fn row(&self, start: usize, width: usize) -> &'a mut [f32] {
        assert!(start + width <= self.len, "the row lies inside");
        // SAFETY: inside the allocation; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(start), width) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_apart_are_seen_together() {
        let mut block = Block::new(6);
        block.0.copy_from_slice(&[1, 2, 3, 4, 5, 6]);
        let ([a, d], [b, c]) = block.views([0..2, 0..1], [2..4, 4..6]);
        assert_eq!(d, [1]);
        b.copy_from_slice(a);
        c[1] = 9;
        assert_eq!(*block.0, [1, 2, 1, 2, 5, 9]);
    }

    #[test]
    #[should_panic(expected = "overlap")]
    fn buffers_that_overlap_are_a_fault() {
        Block::<u32>::new(9).views([0..4, 0..1], [3..5, 6..7]);
    }
}

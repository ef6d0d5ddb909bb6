//! Numbers that begin at a cache line and, where they are many, lie on huge pages. Knows no ops.

use std::ops::{Deref, DerefMut};

/// Bytes of a cache line, which is also the widest vector: loads that cross two take twice as long.
const LINE: usize = 64;
/// Bytes of a huge page.
const HUGE: usize = 2 << 20;

/// So many zeros at first. What is never touched takes no memory but for the rest of a huge page.
#[derive(Debug, Default)]
pub(crate) struct Numbers<T> {
    all: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Numbers<T> {
    pub(crate) fn new(len: usize) -> Self {
        let size = size_of::<T>();
        let is_large = len * size >= 2 * HUGE;
        let line = if is_large { HUGE } else { LINE };
        let all = vec![T::default(); if len > 0 { len + line / size } else { 0 }];
        let start = all.as_ptr().align_offset(line).min(all.len() - len);
        let numbers = Self { all, start, len };
        if is_large {
            advise(&numbers);
        }
        numbers
    }

    /// Room for at least so many, whose values are not kept where there was too little.
    pub(crate) fn at_least(&mut self, len: usize) -> &mut [T] {
        if self.len < len {
            *self = Self::default();
            *self = Self::new(len);
        }
        &mut self[..len]
    }
}

/// Asks for huge pages. Without them each 4 KiB that is first touched is a fault, and each that is read may be looked up
/// in memory. A hint: a system without them goes on as it is.
fn advise<T>(numbers: &[T]) {
    #[cfg(target_os = "linux")]
    {
        use rustix::mm::{Advice, madvise};
        use rustix::thread::{disable_transparent_huge_pages, transparent_huge_pages_are_disabled};
        // An allocator may have refused them for the whole process, since many small things would waste them.
        if transparent_huge_pages_are_disabled().unwrap_or(false) {
            let _ = disable_transparent_huge_pages(false);
        }
        let at = numbers.as_ptr().cast_mut().cast();
        // SAFETY: the pages are this program's own, and the advice changes no byte of them.
        let _ = unsafe { madvise(at, size_of_val(numbers), Advice::LinuxHugepage) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = numbers;
}

impl<T> Deref for Numbers<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.all[self.start..self.start + self.len]
    }
}

impl<T> DerefMut for Numbers<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.all[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_begin_at_a_line_or_a_huge_page_and_are_zero() {
        for len in [0, 1, 17, 1_000, 2 * HUGE / 4, 3 * HUGE / 4 + 5] {
            let mut numbers = Numbers::<f32>::new(len);
            assert_eq!(numbers.len(), len);
            let line = if len >= 2 * HUGE / 4 { HUGE } else { LINE };
            assert!(
                len == 0 || numbers.as_ptr().addr().is_multiple_of(line),
                "{len}"
            );
            assert!(numbers.iter().all(|x| *x == 0.0));
            numbers.fill(1.0);
            assert_eq!(numbers.at_least(len / 2).len(), len / 2);
            assert_eq!(numbers.at_least(len + 1).len(), len + 1);
        }
    }
}

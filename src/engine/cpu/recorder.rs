//! Which products a step takes, written down while it takes them, and the same products again on operands of their own:
//! what a step would cost if it were products alone. Off but in benchmarks. Knows no model.

use std::collections::BTreeMap;
use std::sync::Mutex;

use rayon::prelude::*;

use super::Cpu;
use super::matmul::{Matrix, MatrixMut, Onto, Products};
use super::memory::Numbers;

/// What a product begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Begins {
    Nothing,
    Result,
    Rows,
}

impl Begins {
    pub(super) fn of(onto: Onto<'_>) -> Self {
        match onto {
            Onto::Nothing => Self::Nothing,
            Onto::Result => Self::Result,
            Onto::Rows(_) => Self::Rows,
        }
    }
}

/// The shape of a product `(m, k) (k, n)`, how its operands lie in memory, and who takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProductShape {
    /// `m`, `n`, `k`.
    pub shape: [usize; 3],
    /// On the calling thread, as a part of an op; else on all threads.
    pub is_on_one_thread: bool,
    /// The right operand is a weight whose layout was there.
    pub is_of_kept: bool,
    begins: Begins,
    left: [usize; 2],
    right: [usize; 2],
    result: usize,
}

impl ProductShape {
    pub(super) fn new(
        shape: [usize; 3],
        a: Matrix,
        b: Matrix,
        c: MatrixMut,
        begins: Begins,
    ) -> Self {
        Self {
            shape,
            is_on_one_thread: false,
            is_of_kept: false,
            begins,
            left: [a.row, a.column],
            right: [b.row, b.column],
            result: c.row,
        }
    }

    pub(super) fn on_one_thread(self) -> Self {
        Self {
            is_on_one_thread: true,
            ..self
        }
    }

    pub(super) fn of_kept(self) -> Self {
        Self {
            is_of_kept: true,
            ..self
        }
    }

    /// Floating-point operations: a multiplication and an addition for each of `m n k`.
    #[must_use]
    pub fn flop(&self) -> u64 {
        self.shape.iter().map(|x| *x as u64).product::<u64>() * 2
    }
}

/// Products that were taken, if somebody asked for them.
#[derive(Default)]
pub(crate) struct Recorder(Option<Mutex<BTreeMap<ProductShape, usize>>>);

impl Recorder {
    pub(super) fn note(&self, shape: impl FnOnce() -> ProductShape) {
        if let Some(taken) = &self.0 {
            let mut taken = taken.lock().expect("nobody panics holding it");
            *taken.entry(shape()).or_default() += 1;
        }
    }
}

/// Operands of a product, filled with small numbers.
struct Operands {
    shape: ProductShape,
    left: Numbers<f32>,
    right: Numbers<f32>,
    row: Numbers<f32>,
    result: Numbers<f32>,
}

impl Operands {
    fn new(shape: ProductShape) -> Self {
        let [m, n, k] = shape.shape;
        let filled = |rows: usize, columns: usize, [row, column]: [usize; 2]| {
            let last = rows.saturating_sub(1) * row + columns.saturating_sub(1) * column;
            let mut numbers = Numbers::new(last + 1);
            for (i, number) in numbers.iter_mut().enumerate() {
                *number = (i % 13) as f32 / 16.0 - 0.375;
            }
            numbers
        };
        Self {
            shape,
            left: filled(m, k, shape.left),
            right: filled(k, n, shape.right),
            row: filled(1, n, [0, 1]),
            result: filled(m, n, [shape.result, 1]),
        }
    }

    fn matrices(&self) -> (Matrix, Matrix) {
        let matrix = |numbers: &Numbers<f32>, [row, column]: [usize; 2]| Matrix {
            at: numbers.as_ptr(),
            row,
            column,
        };
        (
            matrix(&self.left, self.shape.left),
            matrix(&self.right, self.shape.right),
        )
    }

    /// On the calling thread.
    fn inside(&mut self, products: &Products) {
        let (a, b) = self.matrices();
        let c = MatrixMut {
            at: self.result.as_mut_ptr(),
            row: self.shape.result,
            column: 1,
        };
        let add = self.shape.begins == Begins::Result;
        // SAFETY: the operands were laid out for this shape, and are borrowed alone.
        unsafe { products.inside(self.shape.shape, 1.0, a, b, c, add) };
    }

    /// On all threads.
    fn on_all(&mut self, products: &mut Products) {
        let (a, b) = self.matrices();
        let weight = self.shape.is_of_kept.then_some(0);
        let onto = match self.shape.begins {
            Begins::Nothing => Onto::Nothing,
            Begins::Result => Onto::Result,
            Begins::Rows => Onto::Rows(&self.row),
        };
        // SAFETY: as above.
        unsafe {
            products.on_all(
                self.shape.shape,
                a,
                (b, weight),
                &mut self.result,
                onto,
                None,
            );
        }
    }
}

impl Cpu {
    /// Begins to write down products, or ends it.
    pub fn record_products(&mut self, on: bool) {
        self.products.recorder().0 = on.then(Mutex::default);
    }

    /// What was written down since: each shape with how often it was taken.
    #[must_use]
    pub fn recorded_products(&mut self) -> Vec<(ProductShape, usize)> {
        match &mut self.products.recorder().0 {
            Some(taken) => {
                let taken = taken.get_mut().expect("nobody panics holding it");
                std::mem::take(taken).into_iter().collect()
            }
            None => Vec::new(),
        }
    }

    /// Something that takes a product of this shape so often, by the same code, in the same precision and on the same
    /// threads as a step does, on operands that are used again and again and so are as near as can be.
    pub fn replay(&mut self, shape: ProductShape) -> impl FnMut(usize) + use<> {
        let pool = self.pool.clone();
        let mut products = Products::new(self.products.precision());
        let copies = if shape.is_on_one_thread {
            self.threads
        } else {
            1
        };
        let mut operands: Vec<Operands> = (0..copies).map(|_| Operands::new(shape)).collect();
        move |count| {
            pool.install(|| {
                if shape.is_on_one_thread {
                    let products = &products;
                    operands
                        .par_iter_mut()
                        .enumerate()
                        .for_each(|(i, operands)| {
                            for _ in 0..count / copies + usize::from(i < count % copies) {
                                operands.inside(products);
                            }
                        });
                } else {
                    for _ in 0..count {
                        operands[0].on_all(&mut products);
                    }
                }
            });
        }
    }
}

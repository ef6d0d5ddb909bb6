//! Products of matrices by cuBLASLt. Knows no ops.
//!
//! The library's matrices are in column-major order, ours in row-major: ours read as theirs are transposed, and
//! `c = a b` is `c' = b' a'`. So `b` is handed over first, columns are the library's rows, and a bias, which it adds along
//! its rows, is added along our columns.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::path::Path;

use super::device::Device;
use super::ffi::{
    Algorithm, CUBLAS_COMPUTE_32F, CUBLASLT_EPILOGUE_BIAS, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE,
    CUBLASLT_MATMUL_DESC_BIAS_POINTER, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_MATMUL_DESC_TRANSA,
    CUBLASLT_MATMUL_DESC_TRANSB, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
    CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE,
    CUDA_R_16BF, CUDA_R_32F, Chosen, Handle, ProductTable, Status,
};
use crate::cuda::driver::{Element, Pointer, Product};
use crate::error::DeviceError;

/// Bytes that products may use on the way.
pub(super) const WORKSPACE: usize = 32 << 20;
/// Shapes that are kept; when there are more, all are forgotten.
const MOST: usize = 4096;

/// What the way of multiplying depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    sizes: [usize; 3],
    strides: [usize; 3],
    transposed: [bool; 2],
    elements: [Element; 2],
    adds: bool,
    has_bias: bool,
    /// Bytes that the first elements of `a`, `b`, `c` and the bias lie at multiples of.
    alignments: [u32; 3],
}

impl Shape {
    fn new(product: &Product) -> Self {
        let Product { a, b, c, bias, .. } = product;
        let bias_alignment = bias.map_or(256, alignment);
        Self {
            sizes: [product.rows, product.columns, product.inner],
            strides: [a.stride, b.stride, c.stride],
            transposed: [a.transposed, b.transposed],
            elements: [a.element, c.element],
            adds: product.adds,
            has_bias: bias.is_some(),
            alignments: [
                alignment(a.at),
                alignment(b.at),
                alignment(c.at).min(bias_alignment),
            ],
        }
    }
}

/// The largest power of two that an address is a multiple of, up to 256.
fn alignment(at: Pointer) -> u32 {
    1 << at.0.trailing_zeros().min(8)
}

/// How products of a shape are made.
#[derive(Debug)]
struct Plan {
    operation: Handle,
    layouts: [Handle; 3],
    algorithm: Algorithm,
    /// Another for each choice: where it is the same, so are the kernels that the library launches.
    number: u64,
}

/// The library with what was chosen for each shape.
#[derive(Debug)]
pub(super) struct Products {
    table: ProductTable,
    handle: Handle,
    workspace: Pointer,
    plans: BTreeMap<Shape, Plan>,
    numbered: u64,
}

/// A call that failed.
struct Failed(&'static str, Status);

fn call(name: &'static str, status: Status) -> Result<(), Failed> {
    match status {
        0 => Ok(()),
        status => Err(Failed(name, status)),
    }
}

/// As cuBLAS numbers what it says.
fn words(status: Status) -> &'static str {
    match status {
        1 => "the library is not initialised",
        3 => "it cannot allocate what it needs",
        7 => "it takes an argument to be wrong",
        8 => "the device's architecture is too old for it",
        13 => "the device failed to carry it out",
        14 => "it failed inside",
        15 => "it has no way to do this",
        _ => "it failed",
    }
}

impl Products {
    /// The library of a file; `workspace` has [`WORKSPACE`] bytes of the device that is entered.
    pub(super) fn open(path: &Path, workspace: Pointer) -> Result<Self, DeviceError> {
        let unusable = |reason: String| DeviceError::LibraryUnusable {
            path: path.to_path_buf(),
            reason,
        };
        let table = ProductTable::open(path).map_err(unusable)?;
        let mut handle: Handle = 0;
        // SAFETY: writes one handle, destroyed in `release`.
        match unsafe { (table.create)(&raw mut handle) } {
            0 => Ok(Self {
                table,
                handle,
                workspace,
                plans: BTreeMap::new(),
                numbered: 0,
            }),
            status => Err(unusable(format!(
                "cublasLtCreate: error {status}, {}",
                words(status)
            ))),
        }
    }

    /// Shapes met so far.
    pub(super) fn shapes(&self) -> usize {
        self.plans.len()
    }

    /// Asks for a product.
    ///
    /// # Safety
    /// The matrices lie in memory of the device.
    pub(super) unsafe fn product(&mut self, device: &mut Device, product: &Product) -> u64 {
        assert_eq!(product.a.element, product.b.element, "factors of one type");
        assert!(
            product.c.element == product.a.element || product.c.element == Element::F32,
            "the result is of the factors' type or f32"
        );
        assert!(
            !product.c.transposed && product.inner > 0,
            "a plain result of a sum"
        );
        if product.rows == 0 || product.columns == 0 {
            return 0;
        }
        // SAFETY: the caller's promise.
        match unsafe { self.ask(device, product) } {
            Ok(number) => number,
            Err(Failed(name, status)) => {
                let [rows, columns, inner] = Shape::new(product).sizes;
                device.fail(format!(
                    "{name}: error {status}, {} (a product of {rows} x {inner} and {inner} x {columns})",
                    words(status)
                ));
                0
            }
        }
    }

    /// # Safety
    /// As `product`.
    unsafe fn ask(&mut self, device: &Device, product: &Product) -> Result<u64, Failed> {
        let shape = Shape::new(product);
        if !self.plans.contains_key(&shape) {
            if self.plans.len() >= MOST {
                self.forget();
            }
            let mut plan = self.plan(&shape)?;
            self.numbered += 1;
            plan.number = self.numbered;
            self.plans.insert(shape, plan);
        }
        let plan = &self.plans[&shape];
        if let Some(Pointer(bias)) = product.bias {
            self.set_operation(plan.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias)?;
        }
        let one = 1.0_f32;
        let more = if product.adds { 1.0_f32 } else { 0.0 };
        // SAFETY: the plan's layouts are those of these matrices; the factors are read when this returns, and the rest is
        // memory of the device.
        let status = unsafe {
            (self.table.product)(
                self.handle,
                plan.operation,
                (&raw const one).cast(),
                product.b.at.0,
                plan.layouts[0],
                product.a.at.0,
                plan.layouts[1],
                (&raw const more).cast(),
                product.c.at.0,
                plan.layouts[2],
                product.c.at.0,
                plan.layouts[2],
                &raw const plan.algorithm,
                self.workspace.0,
                WORKSPACE,
                device.stream,
            )
        };
        call("cublasLtMatmul", status).map(|()| plan.number)
    }

    fn set_operation<T>(&self, operation: Handle, what: c_int, value: &T) -> Result<(), Failed> {
        let value: *const T = value;
        // SAFETY: the library reads as many bytes as are said.
        let status =
            unsafe { (self.table.set_operation)(operation, what, value.cast(), size_of::<T>()) };
        call("cublasLtMatmulDescSetAttribute", status)
    }

    fn plan(&self, shape: &Shape) -> Result<Plan, Failed> {
        let mut plan = Plan {
            operation: 0,
            layouts: [0; 3],
            algorithm: Algorithm::default(),
            number: 0,
        };
        match self.fill(&mut plan, shape) {
            Ok(()) => Ok(plan),
            Err(failed) => {
                self.destroy(&plan);
                Err(failed)
            }
        }
    }

    fn fill(&self, plan: &mut Plan, shape: &Shape) -> Result<(), Failed> {
        let [rows, columns, inner] = shape.sizes;
        let [factor, result] = shape.elements.map(|element| match element {
            Element::F32 => CUDA_R_32F,
            Element::Bf16 => CUDA_R_16BF,
        });
        // SAFETY: writes one handle, destroyed with the plan. Sums in f32, and with factors of f32 nothing less on the way.
        let status = unsafe {
            (self.table.create_operation)(&raw mut plan.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F)
        };
        call("cublasLtMatmulDescCreate", status)?;
        let [transposes_a, transposes_b] = shape.transposed.map(c_int::from);
        self.set_operation(plan.operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposes_b)?;
        self.set_operation(plan.operation, CUBLASLT_MATMUL_DESC_TRANSB, &transposes_a)?;
        if shape.has_bias {
            let operation = plan.operation;
            self.set_operation(
                operation,
                CUBLASLT_MATMUL_DESC_EPILOGUE,
                &CUBLASLT_EPILOGUE_BIAS,
            )?;
            self.set_operation(operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &result)?;
        }
        // As they lie in memory: their rows are our columns.
        let lies = |transposed: bool, (rows, columns): (usize, usize)| match transposed {
            false => (columns, rows),
            true => (rows, columns),
        };
        let [a, b, c] = shape.strides;
        let layouts = [
            (factor, lies(shape.transposed[1], (inner, columns)), b),
            (factor, lies(shape.transposed[0], (rows, inner)), a),
            (result, lies(false, (rows, columns)), c),
        ];
        for (layout, (element, (rows, columns), stride)) in plan.layouts.iter_mut().zip(layouts) {
            // SAFETY: writes one handle, destroyed with the plan.
            let status = unsafe {
                let stride = i64::try_from(stride).expect("of a matrix in memory");
                (self.table.create_layout)(layout, element, rows as u64, columns as u64, stride)
            };
            call("cublasLtMatrixLayoutCreate", status)?;
        }
        plan.algorithm = self.choose(plan, shape)?;
        Ok(())
    }

    /// The library's own choice, which is the same each time: nothing is measured, so that equal runs give equal bits.
    fn choose(&self, plan: &Plan, shape: &Shape) -> Result<Algorithm, Failed> {
        let mut preference: Handle = 0;
        // SAFETY: writes one handle, destroyed below.
        let status = unsafe { (self.table.create_preference)(&raw mut preference) };
        call("cublasLtMatmulPreferenceCreate", status)?;
        let [a, b, c] = shape.alignments;
        let chosen = (|| {
            let set = |what: c_int, value: *const c_void, size: usize| {
                // SAFETY: the library reads as many bytes as are said.
                let status = unsafe { (self.table.set_preference)(preference, what, value, size) };
                call("cublasLtMatmulPreferenceSetAttribute", status)
            };
            let workspace: *const usize = &WORKSPACE;
            set(
                CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                workspace.cast(),
                size_of::<usize>(),
            )?;
            let numbers = [
                // Partial sums are kept and added in f32.
                (
                    CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                    CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE,
                ),
                (CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, b),
                (CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, a),
                (CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, c),
                (CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, c),
            ];
            for (what, number) in &numbers {
                let number: *const u32 = number;
                set(*what, number.cast(), size_of::<u32>())?;
            }
            let (mut chosen, mut count) = (Chosen::default(), 0);
            let [b, a, c] = plan.layouts;
            // SAFETY: all handles are alive, and there is room for the one choice that is asked for.
            let status = unsafe {
                (self.table.choose)(
                    self.handle,
                    plan.operation,
                    b,
                    a,
                    c,
                    c,
                    preference,
                    1,
                    &raw mut chosen,
                    &raw mut count,
                )
            };
            call("cublasLtMatmulAlgoGetHeuristic", status)?;
            const NOT_SUPPORTED: Status = 15;
            match (count, chosen.state) {
                (0, _) => Err(Failed("cublasLtMatmulAlgoGetHeuristic", NOT_SUPPORTED)),
                (_, 0) => Ok(chosen.algorithm),
                (_, state) => Err(Failed("cublasLtMatmulAlgoGetHeuristic", state)),
            }
        })();
        // SAFETY: made above.
        unsafe { (self.table.destroy_preference)(preference) };
        chosen
    }

    fn destroy(&self, plan: &Plan) {
        // SAFETY: made by this table, and destroyed once; what was not made is 0.
        unsafe {
            for layout in plan.layouts.into_iter().filter(|layout| *layout != 0) {
                (self.table.destroy_layout)(layout);
            }
            if plan.operation != 0 {
                (self.table.destroy_operation)(plan.operation);
            }
        }
    }

    fn forget(&mut self) {
        for plan in std::mem::take(&mut self.plans).into_values() {
            self.destroy(&plan);
        }
    }

    /// Gives everything back, after all work is done.
    pub(super) fn release(&mut self) {
        self.forget();
        // SAFETY: nothing is asked of it any more.
        unsafe { (self.table.destroy)(self.handle) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::driver::Matrix;

    #[test]
    fn addresses_lie_at_powers_of_two() {
        let of = |at| alignment(Pointer(at));
        assert_eq!(
            [of(0), of(256), of(4096), of(48), of(2)],
            [256, 256, 256, 16, 2]
        );
    }

    #[test]
    fn shapes_differ_in_what_decides_the_way() {
        let matrix = |at| Matrix {
            at: Pointer(at),
            element: Element::Bf16,
            stride: 8,
            transposed: false,
        };
        let product = Product {
            a: matrix(256),
            b: matrix(512),
            c: matrix(1024),
            rows: 8,
            columns: 8,
            inner: 8,
            adds: false,
            bias: None,
        };
        let of = Shape::new;
        let moved = Product {
            a: matrix(768),
            ..product
        };
        assert_eq!(of(&product), of(&moved));
        let odd = Product {
            a: matrix(258),
            ..product
        };
        assert_ne!(of(&product), of(&odd));
        let biased = Product {
            bias: Some(Pointer(6)),
            ..product
        };
        assert_eq!(of(&biased).alignments, [256, 256, 2]);
        assert_ne!(
            of(&product),
            of(&Product {
                adds: true,
                ..product
            })
        );
    }
}

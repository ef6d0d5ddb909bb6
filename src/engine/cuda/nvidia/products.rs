//! Products of matrices by cuBLASLt. Knows no ops.
//!
//! The library's matrices are in column-major order, ours in row-major: ours read as theirs are transposed, and
//! `c = a b` is `c' = b' a'`. So `b` is handed over first, columns are the library's rows, and a bias, which it adds along
//! its rows, is added along our columns.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::path::Path;

use cudarc::cublaslt::sys::{
    cublasComputeType_t, cublasLtEpilogue_t, cublasLtHandle_t, cublasLtMatmulAlgo_t,
    cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t as Attribute,
    cublasLtMatmulHeuristicResult_t, cublasLtMatmulPreferenceAttributes_t as Wish,
    cublasLtMatrixLayout_t, cublasLtReductionScheme_t, cublasStatus_t, cudaDataType_t,
};

use super::device::Device;
use super::ffi::{Handle, ProductTable, SUCCESS, Status};
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
    operation: Handle<cublasLtMatmulDesc_t>,
    layouts: [Handle<cublasLtMatrixLayout_t>; 3],
    algorithm: cublasLtMatmulAlgo_t,
    /// Another for each choice: where it is the same, so are the kernels that the library launches.
    number: u64,
}

/// The library with what was chosen for each shape.
#[derive(Debug)]
pub(super) struct Products {
    table: ProductTable,
    handle: Handle<cublasLtHandle_t>,
    workspace: Pointer,
    plans: BTreeMap<Shape, Plan>,
    numbered: u64,
}

/// A call that failed.
struct Failed(&'static str, Status);

fn call(name: &'static str, status: Status) -> Result<(), Failed> {
    match status {
        SUCCESS => Ok(()),
        status => Err(Failed(name, status)),
    }
}

/// What a status means.
fn words(status: Status) -> &'static str {
    use cublasStatus_t as S;
    let is = |known: S| known as Status == status;
    match () {
        () if is(S::CUBLAS_STATUS_NOT_INITIALIZED) => "the library is not initialised",
        () if is(S::CUBLAS_STATUS_ALLOC_FAILED) => "it cannot allocate what it needs",
        () if is(S::CUBLAS_STATUS_INVALID_VALUE) => "it takes an argument to be wrong",
        () if is(S::CUBLAS_STATUS_ARCH_MISMATCH) => "the device's architecture is too old for it",
        () if is(S::CUBLAS_STATUS_EXECUTION_FAILED) => "the device failed to carry it out",
        () if is(S::CUBLAS_STATUS_INTERNAL_ERROR) => "it failed inside",
        () if is(S::CUBLAS_STATUS_NOT_SUPPORTED) => "it has no way to do this",
        () => "it failed",
    }
}

/// An address in the device's memory as cuBLAS takes it; nobody here looks behind it.
fn address(at: Pointer) -> *mut c_void {
    let at = usize::try_from(at.0).expect("addresses have 64 bits");
    std::ptr::without_provenance_mut(at)
}

impl Products {
    /// The library of a file; `workspace` has [`WORKSPACE`] bytes of the device that is entered.
    pub(super) fn open(path: &Path, workspace: Pointer) -> Result<Self, DeviceError> {
        let unusable = |reason: String| DeviceError::LibraryUnusable {
            path: path.to_path_buf(),
            reason,
        };
        let table = ProductTable::open(path).map_err(unusable)?;
        let mut handle = Handle::NULL;
        // SAFETY: writes one handle, destroyed in `release`.
        match unsafe { (table.create)(&raw mut handle.0) } {
            SUCCESS => Ok(Self {
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
            let what = Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER;
            self.set_operation(plan.operation, what, &bias)?;
        }
        let one = 1.0_f32;
        let more = if product.adds { 1.0_f32 } else { 0.0 };
        // SAFETY: the plan's layouts are those of these matrices; the factors are read when this returns, and the rest is
        // memory of the device.
        let status = unsafe {
            (self.table.product)(
                self.handle.0,
                plan.operation.0,
                (&raw const one).cast(),
                address(product.b.at),
                plan.layouts[0].0,
                address(product.a.at),
                plan.layouts[1].0,
                (&raw const more).cast(),
                address(product.c.at),
                plan.layouts[2].0,
                address(product.c.at),
                plan.layouts[2].0,
                &raw const plan.algorithm,
                address(self.workspace),
                WORKSPACE,
                device.stream.0.cast(),
            )
        };
        call("cublasLtMatmul", status).map(|()| plan.number)
    }

    fn set_operation<T>(
        &self,
        operation: Handle<cublasLtMatmulDesc_t>,
        what: Attribute,
        value: &T,
    ) -> Result<(), Failed> {
        let value: *const T = value;
        // SAFETY: the library reads as many bytes as are said.
        let status =
            unsafe { (self.table.set_operation)(operation.0, what, value.cast(), size_of::<T>()) };
        call("cublasLtMatmulDescSetAttribute", status)
    }

    fn plan(&self, shape: &Shape) -> Result<Plan, Failed> {
        let mut plan = Plan {
            operation: Handle::NULL,
            layouts: [Handle::NULL; 3],
            algorithm: cublasLtMatmulAlgo_t { data: [0; 8] },
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
            Element::F32 => cudaDataType_t::CUDA_R_32F,
            Element::Bf16 => cudaDataType_t::CUDA_R_16BF,
        });
        // SAFETY: writes one handle, destroyed with the plan. Sums in f32, and with factors of f32 nothing less on the way.
        let status = unsafe {
            (self.table.create_operation)(
                &raw mut plan.operation.0,
                cublasComputeType_t::CUBLAS_COMPUTE_32F,
                cudaDataType_t::CUDA_R_32F,
            )
        };
        call("cublasLtMatmulDescCreate", status)?;
        let operation = plan.operation;
        // `CUBLAS_OP_N` and `CUBLAS_OP_T`, which cudarc has with the whole of cuBLAS only, are 0 and 1.
        let [transposes_a, transposes_b] = shape.transposed.map(u32::from);
        let (first, second) = (
            Attribute::CUBLASLT_MATMUL_DESC_TRANSA,
            Attribute::CUBLASLT_MATMUL_DESC_TRANSB,
        );
        self.set_operation(operation, first, &transposes_b)?;
        self.set_operation(operation, second, &transposes_a)?;
        if shape.has_bias {
            let end = cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS;
            self.set_operation(operation, Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &end)?;
            let what = Attribute::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE;
            self.set_operation(operation, what, &result)?;
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
                let (rows, columns) = (rows as u64, columns as u64);
                (self.table.create_layout)(&raw mut layout.0, element, rows, columns, stride)
            };
            call("cublasLtMatrixLayoutCreate", status)?;
        }
        plan.algorithm = self.choose(plan, shape)?;
        Ok(())
    }

    /// The library's own choice, which is the same each time: nothing is measured, so that equal runs give equal bits.
    fn choose(&self, plan: &Plan, shape: &Shape) -> Result<cublasLtMatmulAlgo_t, Failed> {
        let mut preference = std::ptr::null_mut();
        // SAFETY: writes one handle, destroyed below.
        let status = unsafe { (self.table.create_preference)(&raw mut preference) };
        call("cublasLtMatmulPreferenceCreate", status)?;
        let [a, b, c] = shape.alignments;
        let chosen = (|| {
            let set = |what: Wish, value: *const c_void, size: usize| {
                // SAFETY: the library reads as many bytes as are said.
                let status = unsafe { (self.table.set_preference)(preference, what, value, size) };
                call("cublasLtMatmulPreferenceSetAttribute", status)
            };
            let workspace: *const usize = &WORKSPACE;
            set(
                Wish::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                workspace.cast(),
                size_of::<usize>(),
            )?;
            let numbers = [
                // Partial sums are kept and added in f32.
                (
                    Wish::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                    cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32,
                ),
                (Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, b),
                (Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, a),
                (Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, c),
                (Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, c),
            ];
            for (what, number) in &numbers {
                let number: *const u32 = number;
                set(*what, number.cast(), size_of::<u32>())?;
            }
            // Its state may be newer than the type of it, so that it is never a value as a whole.
            let mut chosen = MaybeUninit::<cublasLtMatmulHeuristicResult_t>::zeroed();
            let mut count = 0;
            let [b, a, c] = plan.layouts;
            // SAFETY: all handles are alive, and there is room for the one choice that is asked for.
            let status = unsafe {
                (self.table.choose)(
                    self.handle.0,
                    plan.operation.0,
                    b.0,
                    a.0,
                    c.0,
                    c.0,
                    preference,
                    1,
                    chosen.as_mut_ptr(),
                    &raw mut count,
                )
            };
            call("cublasLtMatmulAlgoGetHeuristic", status)?;
            let chosen = chosen.as_ptr();
            // SAFETY: zeros, or what the library wrote; whatever that is, both are plain numbers.
            let (algorithm, state) = unsafe {
                let state: *const Status = (&raw const (*chosen).state).cast();
                ((&raw const (*chosen).algo).read(), state.read())
            };
            let state = match count {
                0 => cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED as Status,
                _ => state,
            };
            call("cublasLtMatmulAlgoGetHeuristic", state).map(|()| algorithm)
        })();
        // SAFETY: made above.
        unsafe { (self.table.destroy_preference)(preference) };
        chosen
    }

    fn destroy(&self, plan: &Plan) {
        // SAFETY: made by this table, and destroyed once; what was not made is null.
        unsafe {
            for layout in plan.layouts.into_iter().filter(|layout| !layout.is_null()) {
                (self.table.destroy_layout)(layout.0);
            }
            if !plan.operation.is_null() {
                (self.table.destroy_operation)(plan.operation.0);
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
        unsafe { (self.table.destroy)(self.handle.0) };
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

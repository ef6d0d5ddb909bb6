//! Dense layers on an accelerator: products by its library, the exact GELU and sums over rows by kernels, and layers of few
//! outputs without the library. Knows not how products are carried out.

use bytemuck::{Pod, Zeroable};

use super::{Linear, LinearWeights};
use crate::arena::{Act, Real};
use crate::backend::Write;
use crate::cuda::driver::{Driver, Element, Grid, Kernel, Matrix, Pointer, Product, Source};
use crate::cuda::{Cuda, ROW_THREADS, SCRATCH, count, row_grid, sums};

pub(crate) static SOURCE: Source = Source {
    name: "linear",
    text: include_str!("kernel.cu"),
};

macro_rules! kernels {
    ($($constant:ident = $name:literal),* $(,)?) => {
        $(static $constant: Kernel = Kernel { source: &SOURCE, name: $name };)*
    };
}
kernels! {
    GELU = "linear_gelu",
    GELU_BACKWARD = "linear_gelu_backward",
    COLUMNS = "linear_columns",
    REAL_COLUMNS = "linear_real_columns",
    ROUND = "linear_round",
    LOGITS_1 = "linear_logits_1",
    LOGITS_2 = "linear_logits_2",
    LOGITS_4 = "linear_logits_4",
    LOGITS_8 = "linear_logits_8",
    LOGITS_BACKWARD_1 = "linear_logits_backward_1",
    LOGITS_BACKWARD_2 = "linear_logits_backward_2",
    LOGITS_BACKWARD_4 = "linear_logits_backward_4",
    LOGITS_BACKWARD_8 = "linear_logits_backward_8",
}

/// Columns of a block of the sums over rows.
const COLUMNS_PER_BLOCK: usize = 256;
/// Elements of a block of the passes over all elements, eight a thread.
const PASS: usize = 8 * ROW_THREADS as usize;
/// Rows of a matrix that is rounded for products begin at multiples of this many elements, which products like.
const ROUNDED: usize = 8;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct GeluArguments {
    u: Pointer,
    g: Pointer,
    n: u32,
    unused: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct GeluBackwardArguments {
    u: Pointer,
    d: Pointer,
    g: Pointer,
    n: u32,
    unused: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct ColumnsArguments {
    values: Pointer,
    parts: Pointer,
    rows: u32,
    width: u32,
    rows_of_block: u32,
    unused: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RoundArguments {
    from: Pointer,
    to: Pointer,
    rows: u32,
    width: u32,
    stride: u32,
    unused: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct LogitsArguments {
    x: Pointer,
    weight: Pointer,
    bias: Pointer,
    y: Pointer,
    rows: u32,
    width: u32,
    outputs: u32,
    unused: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct LogitsBackwardArguments {
    dy: Pointer,
    x: Pointer,
    weight: Pointer,
    dx: Pointer,
    parts: Pointer,
    rows: u32,
    width: u32,
    outputs: u32,
    rows_of_block: u32,
    adds: u32,
    unused: u32,
}

/// The kernels, forward and backward, for so few outputs; `None` where a product is better.
fn for_few(outputs: usize) -> Option<[&'static Kernel; 2]> {
    match outputs {
        0..=1 => Some([&LOGITS_1, &LOGITS_BACKWARD_1]),
        2 => Some([&LOGITS_2, &LOGITS_BACKWARD_2]),
        3..=4 => Some([&LOGITS_4, &LOGITS_BACKWARD_4]),
        5..=8 => Some([&LOGITS_8, &LOGITS_BACKWARD_8]),
        _ => None,
    }
}

/// A count whose last block of a pass still has numbers of 32 bits.
fn pass_count(n: usize) -> u32 {
    count(n.next_multiple_of(PASS));
    count(n)
}

fn matrix(at: Pointer, element: Element, stride: usize) -> Matrix {
    Matrix {
        at,
        element,
        stride,
        transposed: false,
    }
}

fn transposed(matrix: Matrix) -> Matrix {
    Matrix {
        transposed: true,
        ..matrix
    }
}

/// Blocks of (columns, rows) for sums over rows, and rows of each.
fn column_grid(rows: usize, width: usize) -> (Grid, usize, usize) {
    let (rows_of_block, parts) = sums::split(rows);
    let mut grid = Grid::row(width.div_ceil(COLUMNS_PER_BLOCK), ROW_THREADS);
    grid.blocks[1] = count(parts);
    (grid, rows_of_block, parts)
}

impl<D: Driver> Cuda<D> {
    /// Activations as a matrix.
    fn acts_of(&self, what: Act, rows: usize, width: usize) -> Matrix {
        matrix(self.act(what.first(rows * width)), self.element(), width)
    }

    /// The weight (outputs, inputs) in the products' type.
    fn weight_of(&self, layer: LinearWeights) -> Matrix {
        let weight = layer.weight.first(layer.outputs * layer.inputs);
        matrix(self.rounded(weight), self.element(), layer.inputs)
    }

    /// `c = x Wᵀ + b`.
    fn forward(&mut self, x: Act, layer: LinearWeights, c: Matrix, bias: Pointer, rows: usize) {
        self.product(&Product {
            a: self.acts_of(x, rows, layer.inputs),
            b: transposed(self.weight_of(layer)),
            c,
            rows,
            columns: layer.outputs,
            inner: layer.inputs,
            adds: false,
            bias: Some(bias),
        });
    }

    /// `dx = dy W`.
    fn input_gradient(
        &mut self,
        dy: Matrix,
        layer: LinearWeights,
        dx: Matrix,
        write: Write,
        n: usize,
    ) {
        self.product(&Product {
            a: dy,
            b: self.weight_of(layer),
            c: dx,
            rows: n,
            columns: layer.inputs,
            inner: layer.outputs,
            adds: write == Write::Add,
            bias: None,
        });
    }

    /// `dW += dyᵀ x`.
    fn weight_gradient(&mut self, dy: Matrix, layer: LinearWeights, x: Matrix, rows: usize) {
        let gradient = self.gradient(layer.weight);
        self.product(&Product {
            a: transposed(dy),
            b: x,
            c: matrix(gradient, Element::F32, layer.inputs),
            rows: layer.outputs,
            columns: layer.inputs,
            inner: rows,
            adds: true,
            bias: None,
        });
    }

    /// `db += the sum of dy's rows`, in blocks of rows, then those in order.
    fn bias_gradient(
        &mut self,
        kernel: &'static Kernel,
        dy: Pointer,
        layer: LinearWeights,
        rows: usize,
    ) {
        let width = layer.outputs;
        let (grid, rows_of_block, n_parts) = column_grid(rows, width);
        let parts = self.scratch(n_parts * width * 4);
        let arguments = ColumnsArguments {
            values: dy,
            parts,
            rows: count(rows),
            width: count(width),
            rows_of_block: count(rows_of_block),
            unused: 0,
        };
        self.launch(kernel, grid, &arguments);
        let to = self.gradient(layer.bias);
        sums::add(self, parts, n_parts, width, width, to);
    }

    fn few_backward(
        &mut self,
        kernel: &'static Kernel,
        dy: Real,
        x: Act,
        layer: LinearWeights,
        (dx, write): (Act, Write),
        rows: usize,
    ) {
        let (width, outputs) = (layer.inputs, layer.outputs);
        let (grid, rows_of_block, n_parts) = column_grid(rows, width);
        let stride = outputs * (width + 1);
        let parts = self.scratch(n_parts * stride * 4);
        let arguments = LogitsBackwardArguments {
            dy: self.real(dy.first(rows * outputs)),
            x: self.act(x.first(rows * width)),
            weight: self.value(layer.weight.first(outputs * width)),
            dx: self.act(dx.first(rows * width)),
            parts,
            rows: count(rows),
            width: count(width),
            outputs: count(outputs),
            rows_of_block: count(rows_of_block),
            adds: u32::from(write == Write::Add),
            unused: 0,
        };
        self.launch(kernel, grid, &arguments);
        let (dw, db) = (self.gradient(layer.weight), self.gradient(layer.bias));
        sums::add(self, parts, n_parts, stride, outputs * width, dw);
        let biases = parts.offset(outputs * width * 4);
        sums::add(self, biases, n_parts, stride, outputs, db);
    }

    /// Gradients in f32 as the products take them: themselves, or a rounded copy, which lasts until the next op.
    fn operand(&mut self, values: Pointer, rows: usize, width: usize) -> Matrix {
        let element = self.element();
        if element == Element::F32 {
            return matrix(values, element, width);
        }
        let stride = width.next_multiple_of(ROUNDED);
        let n = rows * stride;
        let to = self.scratch(n * element.size());
        let arguments = RoundArguments {
            from: values,
            to,
            rows: count(rows),
            width: count(width),
            stride: count(stride),
            unused: 0,
        };
        let blocks = n.div_ceil(ROW_THREADS as usize);
        self.launch(&ROUND, Grid::row(blocks, ROW_THREADS), &arguments);
        matrix(to, element, stride)
    }
}

impl<D: Driver> Linear for Cuda<D> {
    fn linear(&mut self, x: Act, layer: LinearWeights, y: Act, rows: usize) {
        let c = self.acts_of(y, rows, layer.outputs);
        let bias = self.rounded(layer.bias);
        self.forward(x, layer, c, bias, rows);
    }

    fn linear_gelu(&mut self, x: Act, layer: LinearWeights, u: Act, g: Act, rows: usize) {
        // The bias is added by the product, before its sums are rounded: `u` is written once and read once.
        self.linear(x, layer, u, rows);
        let n = rows * layer.outputs;
        let arguments = GeluArguments {
            u: self.act(u.first(n)),
            g: self.act(g.first(n)),
            n: pass_count(n),
            unused: 0,
        };
        let grid = Grid::row(n.div_ceil(PASS), ROW_THREADS);
        self.launch(&GELU, grid, &arguments);
    }

    fn gelu_backward(&mut self, u: Act, d: Act, g: Option<Act>) {
        let n = d.len();
        let arguments = GeluBackwardArguments {
            u: self.act(u.first(n)),
            d: self.act(d),
            g: g.map_or(Pointer::default(), |g| self.act(g.first(n))),
            n: pass_count(n),
            unused: 0,
        };
        let grid = Grid::row(n.div_ceil(PASS), ROW_THREADS);
        self.launch(&GELU_BACKWARD, grid, &arguments);
    }

    fn linear_input_gradient(&mut self, dy: Act, layer: LinearWeights, dx: Act, rows: usize) {
        let dy = self.acts_of(dy, rows, layer.outputs);
        let dx = self.acts_of(dx, rows, layer.inputs);
        self.input_gradient(dy, layer, dx, Write::Over, rows);
    }

    fn linear_backward(
        &mut self,
        dy: Act,
        x: Act,
        layer: LinearWeights,
        dx: Option<(Act, Write)>,
        rows: usize,
    ) {
        let x = self.acts_of(x, rows, layer.inputs);
        let dy = self.acts_of(dy, rows, layer.outputs);
        if let Some((dx, write)) = dx {
            let dx = self.acts_of(dx, rows, layer.inputs);
            self.input_gradient(dy, layer, dx, write, rows);
        }
        self.weight_gradient(dy, layer, x, rows);
        self.bias_gradient(&COLUMNS, dy.at, layer, rows);
    }

    fn logits(&mut self, x: Act, layer: LinearWeights, y: Real, rows: usize) {
        let bias = self.value(layer.bias);
        let Some([kernel, _]) = for_few(layer.outputs) else {
            let c = matrix(
                self.real(y.first(rows * layer.outputs)),
                Element::F32,
                layer.outputs,
            );
            return self.forward(x, layer, c, bias, rows);
        };
        let arguments = LogitsArguments {
            x: self.act(x.first(rows * layer.inputs)),
            weight: self.value(layer.weight.first(layer.outputs * layer.inputs)),
            bias,
            y: self.real(y.first(rows * layer.outputs)),
            rows: count(rows),
            width: count(layer.inputs),
            outputs: count(layer.outputs),
            unused: 0,
        };
        self.launch(kernel, row_grid(rows), &arguments);
    }

    fn logits_backward(
        &mut self,
        dy: Real,
        x: Act,
        layer: LinearWeights,
        (dx, write): (Act, Write),
        rows: usize,
    ) {
        let (width, outputs) = (layer.inputs, layer.outputs);
        if let Some([_, kernel]) = for_few(outputs) {
            return self.few_backward(kernel, dy, x, layer, (dx, write), rows);
        }
        // As many rows at a time as a rounded copy has room for.
        let most = SCRATCH / (outputs.next_multiple_of(ROUNDED) * self.element().size());
        for first in (0..rows).step_by(most) {
            let n = most.min(rows - first);
            let part = self.real(dy.part(first * outputs, n * outputs));
            let dy = self.operand(part, n, outputs);
            let [x, dx] =
                [x, dx].map(|of| self.acts_of(of.part(first * width, n * width), n, width));
            self.input_gradient(dy, layer, dx, write, n);
            self.weight_gradient(dy, layer, x, n);
        }
        self.bias_gradient(&REAL_COLUMNS, self.real(dy), layer, rows);
    }
}

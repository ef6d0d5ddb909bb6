//! Products of matrices in our order through a library that has the other.

use engine::cuda::driver::{Driver, Element, Matrix, Pointer, Product};
use engine::cuda::nvidia::Nvidia;

use super::Fake;

/// Small whole numbers, whose sums are exact in any order and type.
fn numbers(count: usize, index: u32) -> Vec<f32> {
    let mut state = index.wrapping_mul(2_654_435_761);
    let mut next = || {
        state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        (state >> 24) % 5
    };
    (0..count).map(|_| next() as f32 - 2.0).collect()
}

fn bytes(values: &[f32], element: Element) -> Vec<u8> {
    match element {
        Element::F32 => bytemuck::cast_slice(values).to_vec(),
        Element::Bf16 => {
            let halves = values.iter().map(|value| (value.to_bits() >> 16) as u16);
            halves.flat_map(u16::to_ne_bytes).collect()
        }
    }
}

struct Case {
    rows: usize,
    columns: usize,
    inner: usize,
    transposed: [bool; 2],
    elements: [Element; 2],
    adds: bool,
    has_bias: bool,
    /// Elements beyond a row, and before the first.
    more: usize,
}

/// A matrix of some shape in new memory, as it lies there.
fn lay(
    device: &mut Nvidia,
    case: &Case,
    values: &[f32],
    columns: usize,
    element: Element,
) -> (Pointer, usize) {
    let stride = columns + case.more;
    let mut all = vec![9.0; case.more];
    for row in values.chunks(columns) {
        all.extend(row);
        all.extend(std::iter::repeat_n(9.0, case.more));
    }
    let raw = bytes(&all, element);
    let at = device.allocate(raw.len()).expect("room");
    device.write(at, &raw);
    (at.offset(case.more * element.size()), stride)
}

fn check(device: &mut Nvidia, case: &Case) {
    let Case {
        rows,
        columns,
        inner,
        transposed,
        elements,
        ..
    } = *case;
    let a = numbers(rows * inner, 1);
    let b = numbers(inner * columns, 2);
    let before = numbers(rows * columns, 3);
    let bias = numbers(columns, 4);
    let mut expected = before.clone();
    for i in 0..rows {
        for j in 0..columns {
            let term = |k: usize| {
                let x = if transposed[0] {
                    a[k * rows + i]
                } else {
                    a[i * inner + k]
                };
                let y = if transposed[1] {
                    b[j * inner + k]
                } else {
                    b[k * columns + j]
                };
                x * y
            };
            let mut sum: f32 = (0..inner).map(term).sum();
            sum += if case.has_bias { bias[j] } else { 0.0 };
            sum += if case.adds {
                before[i * columns + j]
            } else {
                0.0
            };
            expected[i * columns + j] = sum;
        }
    }
    let widths = [
        if transposed[0] { rows } else { inner },
        if transposed[1] { inner } else { columns },
    ];
    let factor = |device: &mut Nvidia, values: &[f32], i: usize| {
        let (at, stride) = lay(device, case, values, widths[i], elements[0]);
        Matrix {
            at,
            element: elements[0],
            stride,
            transposed: transposed[i],
        }
    };
    let a = factor(device, &a, 0);
    let b = factor(device, &b, 1);
    let (at, stride) = lay(device, case, &before, columns, elements[1]);
    let c = Matrix {
        at,
        element: elements[1],
        stride,
        transposed: false,
    };
    let bias = case
        .has_bias
        .then(|| lay(device, case, &bias, columns, elements[1]).0);
    let product = Product {
        a,
        b,
        c,
        rows,
        columns,
        inner,
        adds: case.adds,
        bias,
    };
    // SAFETY: the matrices were laid out above.
    unsafe { device.product(&product) };
    let mut raw = vec![0; (stride * rows - case.more) * elements[1].size()];
    device.read(at, &mut raw);
    device.finish().expect("no fault");
    let found: Vec<f32> = match elements[1] {
        Element::F32 => raw
            .chunks(4)
            .map(|word| f32::from_ne_bytes(word.try_into().expect("four bytes")))
            .collect(),
        Element::Bf16 => raw
            .chunks(2)
            .map(|half| f32::from_bits(u32::from(u16::from_ne_bytes([half[0], half[1]])) << 16))
            .collect(),
    };
    for (i, row) in found.chunks(stride).enumerate() {
        assert_eq!(
            row[..columns],
            expected[i * columns..(i + 1) * columns],
            "row {i}"
        );
        assert!(
            row[columns..].iter().all(|value| *value == 9.0),
            "nothing between rows"
        );
    }
}

#[test]
fn products_are_those_of_rows() {
    let fake = Fake::new();
    let mut device = fake.open();
    let elements = [
        [Element::F32, Element::F32],
        [Element::Bf16, Element::Bf16],
        [Element::Bf16, Element::F32],
    ];
    let mut count = 0;
    for bits in 0..16_u32 {
        for elements in elements {
            for more in [0, 3, 8] {
                let is = |bit: u32| bits >> bit & 1 == 1;
                let case = Case {
                    rows: 5,
                    columns: 7,
                    inner: 4,
                    transposed: [is(0), is(1)],
                    elements,
                    adds: is(2),
                    has_bias: is(3),
                    more,
                };
                check(&mut device, &case);
                count += 1;
            }
        }
    }
    // What was chosen for a shape stays: a second time nothing is asked.
    assert_eq!(
        (fake.get("heuristics"), device.counts().shapes),
        (count, count as usize)
    );
    let case = Case {
        rows: 5,
        columns: 7,
        inner: 4,
        transposed: [false; 2],
        elements: elements[0],
        adds: false,
        has_bias: true,
        more: 8,
    };
    check(&mut device, &case);
    assert_eq!(fake.get("heuristics"), count);
    drop(device);
    fake.assert_all_is_given_back();
}

#[test]
fn a_product_that_cannot_be_made_is_a_fault_with_its_shape() {
    let fake = Fake::new();
    let mut device = fake.open();
    fake.set("no_way", 1);
    let at = device.allocate(4096).expect("room");
    let matrix = Matrix {
        at,
        element: Element::F32,
        stride: 4,
        transposed: false,
    };
    let product = Product {
        a: matrix,
        b: matrix,
        c: matrix,
        rows: 3,
        columns: 4,
        inner: 2,
        adds: false,
        bias: None,
    };
    // SAFETY: inside of what was allocated.
    unsafe { device.product(&product) };
    let fault = device.finish().expect_err("a fault").to_string();
    let words = "error 15, it has no way to do this (a product of 3 x 2 and 2 x 4)";
    assert!(fault.contains(words), "{fault}");
    // A newer library may say what nobody knows yet.
    fake.set("no_way", 0);
    fake.set("state", 4711);
    // SAFETY: as above.
    unsafe { device.product(&product) };
    let fault = device.finish().expect_err("a fault").to_string();
    assert!(
        fault.contains("error 4711, it failed (a product"),
        "{fault}"
    );
    // Nothing times anything is nothing, and asks nobody.
    // SAFETY: as above.
    unsafe { device.product(&Product { rows: 0, ..product }) };
    device.finish().expect("no fault");
    drop(device);
    fake.assert_all_is_given_back();
}

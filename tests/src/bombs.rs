//! Small, valid components that exhaust a compiler's time or memory: a few tens of kilobytes become gigabytes.
//!
//! Each holds one core module and exports nothing, because compilation comes first.

const I64: u8 = 0x7e;
/// The type of a function or block without parameters and results.
const NOTHING: &[u8] = &[0x60, 0, 0];
const UNIT: &[u8] = &[0x40];

/// Each bomb with its name.
pub fn all() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("many loops over many locals", loops_over_locals()),
        ("loops in loops", nested_loops()),
        ("blocks that pass 900 values on", wide_blocks()),
        ("a million functions", many_functions()),
        ("hundreds of thousands of types", many_types()),
    ]
}

/// Uses a processor for minutes, and little memory: 12 KB.
pub fn nested_loops() -> Vec<u8> {
    let depth = 800;
    let mut code = Vec::new();
    for local in 0..depth {
        code.extend([&[0x03][..], UNIT].concat());
        code.extend(increment(local));
    }
    for _ in 0..depth {
        code.extend(branch_if(0));
        code.push(END);
    }
    component(&module(&[NOTHING.to_vec()], &[0], &[body(2000, &code)]))
}

/// Uses gigabytes within seconds: 39 KB.
pub fn wide_blocks() -> Vec<u8> {
    let wide = 900;
    let values = [leb(wide), vec![I64; wide as usize]].concat();
    let ty = [vec![0x60], values.clone(), values].concat();
    let mut code: Vec<u8> = (0..wide).flat_map(get).collect();
    for _ in 0..5000 {
        // A block of the function's own type.
        code.extend([0x02, 0]);
        code.extend(branch_if(0));
        code.push(END);
    }
    component(&module(&[ty], &[0], &[body(0, &code)]))
}

fn loops_over_locals() -> Vec<u8> {
    let mut code = Vec::new();
    for local in 0..3000 {
        code.extend([&[0x03][..], UNIT].concat());
        code.extend(increment(local));
        code.extend(branch_if(0));
        code.push(END);
    }
    component(&module(&[NOTHING.to_vec()], &[0], &[body(10_000, &code)]))
}

fn many_functions() -> Vec<u8> {
    let count = 1_000_000;
    component(&module(
        &[NOTHING.to_vec()],
        &vec![0; count],
        &vec![body(0, &[]); count],
    ))
}

fn many_types() -> Vec<u8> {
    let ty = |n: u32| {
        let params: Vec<u8> = (0..20).map(|bit| I64 + (n >> bit & 1) as u8).collect();
        [&[0x60, 20][..], &params, &[0]].concat()
    };
    // 0x7e and 0x7f are i64 and i32.
    let types: Vec<_> = (0..400_000).map(ty).collect();
    component(&module(&types, &[0], &[body(0, &[0x00])]))
}

const END: u8 = 0x0b;

fn get(local: u32) -> Vec<u8> {
    [vec![0x20], leb(local)].concat()
}

fn increment(local: u32) -> Vec<u8> {
    [get(local), vec![0x42, 1, 0x7c, 0x21], leb(local)].concat()
}

/// A branch whose condition is the constant 0, so it is never taken.
fn branch_if(label: u8) -> [u8; 4] {
    [0x41, 0, 0x0d, label]
}

/// A function's body with `locals` locals of 64 bits.
fn body(locals: u32, code: &[u8]) -> Vec<u8> {
    let locals = match locals {
        0 => vec![0],
        count => [vec![1], leb(count), vec![I64]].concat(),
    };
    sized(&[&locals, code, &[END]].concat())
}

fn module(types: &[Vec<u8>], functions: &[u32], bodies: &[Vec<u8>]) -> Vec<u8> {
    let functions: Vec<_> = functions.iter().map(|ty| leb(*ty)).collect();
    let section = |id: u8, entries: &[Vec<u8>]| {
        let count = leb(u32::try_from(entries.len()).unwrap());
        [vec![id], sized(&[count, entries.concat()].concat())].concat()
    };
    [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, types),
        section(3, &functions),
        section(10, bodies),
    ]
    .concat()
}

/// A component that holds this module.
fn component(module: &[u8]) -> Vec<u8> {
    [b"\0asm\x0d\0\x01\0\x01".to_vec(), sized(module)].concat()
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [leb(u32::try_from(bytes.len()).unwrap()), bytes.to_vec()].concat()
}

/// A number in LEB128.
fn leb(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

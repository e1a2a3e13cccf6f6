//! The kernels in plain Rust: for machines without the vector instructions, and the measure of those that have them.
//!
//! Eight bytes of GF(256) are worked on at a time in a `u64`. Every function takes the offset to begin at, so that the
//! vector kernels leave their tails here. Buffers are of one length; [`super`] has checked that.

use super::{field, ladder::Ladder};

/// Bytes worked on at once: several words, so that the compiler can use what vectors there are.
const BLOCK: usize = 64;

type Block = [u64; BLOCK / 8];

fn load(bytes: &[u8], at: usize) -> Block {
    let mut block = [0; BLOCK / 8];
    for (word, bytes) in block.iter_mut().zip(bytes[at..at + BLOCK].chunks_exact(8)) {
        *word = u64::from_ne_bytes(bytes.try_into().expect("chunks of 8 bytes"));
    }
    block
}

fn store(block: Block, bytes: &mut [u8], at: usize) {
    for (word, bytes) in block.iter().zip(bytes[at..at + BLOCK].chunks_exact_mut(8)) {
        bytes.copy_from_slice(&word.to_ne_bytes());
    }
}

fn xor_block(into: &mut Block, from: Block) {
    into.iter_mut().zip(from).for_each(|(into, from)| *into ^= from);
}

fn double(block: &mut Block) {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    for word in block {
        let carries = (*word & HIGH) >> 7;
        *word = ((*word & !HIGH) << 1) ^ (carries * u64::from(field::POLYNOMIAL));
    }
}

fn times(mut block: Block, factor: u8) -> Block {
    let mut sum = [0; BLOCK / 8];
    for bit in 0..8 {
        let mask = 0_u64.wrapping_sub(u64::from(factor >> bit & 1));
        sum.iter_mut().zip(block).for_each(|(sum, word)| *sum ^= word & mask);
        double(&mut block);
    }
    sum
}

/// The whole blocks from `from` on, and where the bytes after them begin.
fn blocks(from: usize, length: usize) -> (impl Iterator<Item = usize>, usize) {
    let end = from + (length - from) / BLOCK * BLOCK;
    ((from..end).step_by(BLOCK), end)
}

/// Xor of the sources, written to `into` or added to it.
pub(super) fn xor(into: &mut [u8], sources: &[&[u8]], add: bool, from: usize) {
    let (blocks, tail) = blocks(from, into.len());
    for at in blocks {
        let mut sum = if add { load(into, at) } else { [0; BLOCK / 8] };
        sources.iter().for_each(|source| xor_block(&mut sum, load(source, at)));
        store(sum, into, at);
    }
    for at in tail..into.len() {
        let start = if add { into[at] } else { 0 };
        into[at] = sources.iter().fold(start, |sum, source| sum ^ source[at]);
    }
}

/// P and Q of one block.
fn pq_block(data: &[&[u8]], ladder: &Ladder, at: usize) -> (Block, Block) {
    let (mut p, mut q) = ([0; BLOCK / 8], [0; BLOCK / 8]);
    for rung in ladder.down() {
        double(&mut q);
        if let Some(index) = rung {
            let block = load(data[index], at);
            xor_block(&mut p, block);
            xor_block(&mut q, block);
        }
    }
    (p, q)
}

/// P and Q of one byte.
fn pq_byte(data: &[&[u8]], ladder: &Ladder, at: usize) -> (u8, u8) {
    ladder.down().fold((0, 0), |(p, q), rung| {
        let byte = rung.map_or(0, |index| data[index][at]);
        (p ^ byte, field::multiply(q, 2) ^ byte)
    })
}

/// P and Q.
pub(super) fn pq(p: &mut [u8], q: &mut [u8], data: &[&[u8]], ladder: &Ladder, from: usize) {
    let (blocks, tail) = blocks(from, p.len());
    for at in blocks {
        let sums = pq_block(data, ladder, at);
        store(sums.0, p, at);
        store(sums.1, q, at);
    }
    for at in tail..p.len() {
        (p[at], q[at]) = pq_byte(data, ladder, at);
    }
}

/// Sum of the sources, each multiplied by its factor.
pub(super) fn combine(into: &mut [u8], sources: &[&[u8]], factors: &[u8], from: usize) {
    let (blocks, tail) = blocks(from, into.len());
    for at in blocks {
        let mut sum = [0; BLOCK / 8];
        for (source, factor) in sources.iter().zip(factors) {
            xor_block(&mut sum, times(load(source, at), *factor));
        }
        store(sum, into, at);
    }
    for at in tail..into.len() {
        let products = sources
            .iter()
            .zip(factors)
            .map(|(source, factor)| field::multiply(source[at], *factor));
        into[at] = products.fold(0, |sum, product| sum ^ product);
    }
}

/// Adds the difference of an old and a new chunk to P, if it is there, and that times `factor` to Q.
pub(super) fn update(p: Option<&mut [u8]>, q: &mut [u8], change: [&[u8]; 2], factor: u8, from: usize) {
    if let Some(p) = p {
        xor(p, &change, true, from);
    }
    let (blocks, tail) = blocks(from, q.len());
    for at in blocks {
        let mut difference = load(change[0], at);
        xor_block(&mut difference, load(change[1], at));
        let mut sum = load(q, at);
        xor_block(&mut sum, times(difference, factor));
        store(sum, q, at);
    }
    for at in tail..q.len() {
        q[at] ^= field::multiply(change[0][at] ^ change[1][at], factor);
    }
}

/// The first place from `from` on, to a block's accuracy, where P is not the xor of the data.
pub(super) fn find_p(p: &[u8], data: &[&[u8]], from: usize) -> Option<usize> {
    let (mut blocks, tail) = blocks(from, p.len());
    let wrong = |at: &usize| {
        let mut sum = load(p, *at);
        data.iter().for_each(|source| xor_block(&mut sum, load(source, *at)));
        sum != [0; BLOCK / 8]
    };
    let byte = |at: &usize| data.iter().fold(p[*at], |sum, source| sum ^ source[*at]) != 0;
    blocks.find(wrong).or_else(|| (tail..p.len()).find(byte))
}

/// The first place from `from` on, to a block's accuracy, where P or Q is not what the data make it.
pub(super) fn find_pq(p: &[u8], q: &[u8], data: &[&[u8]], ladder: &Ladder, from: usize) -> Option<usize> {
    let (mut blocks, tail) = blocks(from, p.len());
    let wrong = |at: &usize| pq_block(data, ladder, *at) != (load(p, *at), load(q, *at));
    let byte = |at: &usize| pq_byte(data, ladder, *at) != (p[*at], q[*at]);
    blocks.find(wrong).or_else(|| (tail..p.len()).find(byte))
}

/// What P and Q differ by from what the data make them, of one byte.
pub(super) fn syndromes(p: &[u8], q: &[u8], data: &[&[u8]], ladder: &Ladder, at: usize) -> (u8, u8) {
    let (sum_p, sum_q) = pq_byte(data, ladder, at);
    (sum_p ^ p[at], sum_q ^ q[at])
}

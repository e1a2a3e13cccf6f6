//! Tests of parity: kernels against the portable one, all recoveries, checks, hand-made values.
//!
//! Random contents come from a seeded generator; the seed is in the message of a failure.

use super::{
    Code, Mismatch, Part, Recovery, Suspect, check_p, check_pq,
    field::power,
    kernel::{Kernels, available},
    ladder::Ladder,
    p, pq, suspect, update_p, update_pq, update_q, xor_into,
};

/// Bytes that look random, the same for a seed everywhere.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[4]
    };
    (0..length).map(|_| next()).collect()
}

fn chunks(seed: u64, data: usize, length: usize) -> Vec<Vec<u8>> {
    (0..data as u64)
        .map(|chunk| noise(seed * 1000 + chunk, length))
        .collect()
}

fn slices(chunks: &[Vec<u8>]) -> Vec<&[u8]> {
    chunks.iter().map(Vec::as_slice).collect()
}

/// The exponents of md's usual layouts, and some of DDF's and of the asymmetric ones.
fn exponents(data: u8) -> [Vec<u8>; 3] {
    let dense: Vec<u8> = (0..data).collect();
    let turned = (0..data).map(|chunk| (chunk + data / 2) % data).collect();
    let gaps = (0..data)
        .map(|chunk| if chunk < data / 3 { chunk } else { chunk + 2 })
        .collect();
    [dense, turned, gaps]
}

#[test]
fn p_and_q_of_hand_made_chunks_are_right() {
    let data: [&[u8]; 3] = [&[1, 0, 0x80], &[0, 1, 0x80], &[0, 0, 0x80]];
    let (mut parity, mut sum) = ([0; 3], [0; 3]);
    pq(&mut parity, &mut sum, &data, &[0, 1, 2]);
    // 0x80 * (1 + 2 + 4): 0x80 + 0x1d + 0x3a.
    assert_eq!((parity, sum), ([1, 1, 0x80], [1, 2, 0x80 ^ 0x1d ^ 0x3a]));
    pq(&mut parity, &mut sum, &data, &[3, 0, 8]);
    assert_eq!((parity, sum[0], sum[1]), ([1, 1, 0x80], 8, 1));
    p(&mut parity, &data[..2]);
    assert_eq!(parity, [1, 1, 0]);
    xor_into(&mut parity, &[3, 3, 3]);
    assert_eq!(parity, [2, 2, 3]);
}

/// All that a table of kernels makes of some buffers.
fn results(kernels: &Kernels, seed: u64, data: &[&[u8]], exponents: &[u8]) -> Vec<Vec<u8>> {
    let length = data[0].len();
    let ladder = Ladder::new(exponents);
    let buffer = || noise(seed + 7, length);
    let (mut xor, mut more, mut parity, mut sum) = (buffer(), buffer(), buffer(), buffer());
    kernels.xor(&mut xor, data, false);
    kernels.xor(&mut more, data, true);
    kernels.pq(&mut parity, &mut sum, data, &ladder);
    let factors = [noise(seed + 1, data.len()), noise(seed + 2, data.len())];
    let (mut one, mut first, mut second) = (buffer(), buffer(), buffer());
    kernels.combine(&mut one, data, &factors[0]);
    kernels.combine_two(&mut [&mut first, &mut second], data, [&factors[0], &factors[1]]);
    let (mut updated_p, mut updated_q, mut only_q) = (buffer(), buffer(), buffer());
    let change = [data[0], data[data.len() - 1]];
    kernels.update(Some(&mut updated_p), &mut updated_q, change, 0x5b);
    kernels.update(None, &mut only_q, change, 0x5b);
    assert_eq!(kernels.find_p(&xor, data, 0), None, "{}", kernels.name);
    assert_eq!(
        kernels.find_pq(&parity, &sum, data, &ladder, 0),
        None,
        "{}",
        kernels.name
    );
    vec![xor, more, parity, sum, one, first, second, updated_p, updated_q, only_q]
}

#[test]
fn every_kernel_agrees_with_the_portable_one() {
    let all = available();
    let portable = all[all.len() - 1];
    assert_eq!(portable.name, "portable");
    let lengths = [
        0, 1, 7, 31, 32, 63, 64, 65, 127, 128, 255, 256, 257, 511, 1023, 4096, 5000,
    ];
    for (seed, length) in (1..).zip(lengths) {
        for (data, misaligned) in [(1, 0), (2, 1), (3, 31), (4, 0), (8, 5), (11, 63), (64, 3)] {
            let buffers = chunks(seed, usize::from(data), length + misaligned);
            let shifted: Vec<&[u8]> = buffers.iter().map(|buffer| &buffer[misaligned..]).collect();
            for exponents in exponents(data) {
                let expected = results(portable, seed, &shifted, &exponents);
                for kernels in &all {
                    let found = results(kernels, seed, &shifted, &exponents);
                    assert!(
                        found == expected,
                        "{}: {data} chunks of {length} bytes, seed {seed}",
                        kernels.name
                    );
                }
            }
        }
    }
}

#[test]
fn every_kernel_finds_every_wrong_byte() {
    for length in [64, 700, 1024] {
        let data = chunks(3, 5, length);
        let (mut parity, mut sum) = (vec![0; length], vec![0; length]);
        let exponents = [0, 1, 2, 3, 4];
        pq(&mut parity, &mut sum, &slices(&data), &exponents);
        let ladder = Ladder::new(&exponents);
        for kernels in available() {
            for at in 0..length {
                let near = |found: Option<usize>| found.is_some_and(|found| found <= at && at < found + 256);
                parity[at] ^= 0x40;
                assert!(
                    near(kernels.find_p(&parity, &slices(&data), 0)),
                    "{}: {at}",
                    kernels.name
                );
                assert!(
                    near(kernels.find_pq(&parity, &sum, &slices(&data), &ladder, 0)),
                    "{}: {at}",
                    kernels.name
                );
                assert_eq!(kernels.find_p(&parity, &slices(&data), at + 1), None);
                parity[at] ^= 0x40;
                sum[at] ^= 1;
                assert!(
                    near(kernels.find_pq(&parity, &sum, &slices(&data), &ladder, 0)),
                    "{}: {at}",
                    kernels.name
                );
                sum[at] ^= 1;
            }
        }
    }
}

/// R10: RAID 6 makes any two lost chunks again, RAID 5 any one, whatever the exponents.
#[test]
fn every_one_or_two_lost_parts_are_made_again() {
    let length = 300;
    for data in [1_u8, 2, 3, 6] {
        let chunks = chunks(u64::from(data), usize::from(data), length);
        for exponents in exponents(data) {
            let (mut parity, mut sum) = (vec![0; length], vec![0; length]);
            pq(&mut parity, &mut sum, &slices(&chunks), &exponents);
            let parts: Vec<Part> = (0..u16::from(data)).map(Part::Data).chain([Part::P, Part::Q]).collect();
            let bytes = |part: Part| match part {
                Part::Data(index) => chunks[usize::from(index)].as_slice(),
                Part::P => parity.as_slice(),
                Part::Q => sum.as_slice(),
            };
            for first in &parts {
                for second in &parts {
                    let lost = if first == second {
                        vec![*first]
                    } else {
                        vec![*first, *second]
                    };
                    for wanted in [&lost[..], &lost[..1]] {
                        let recovery = Recovery::new(Code::Pq(&exponents), &lost, wanted).unwrap();
                        assert!(recovery.sources().iter().all(|part| !lost.contains(part)));
                        let sources: Vec<&[u8]> = recovery.sources().iter().map(|part| bytes(*part)).collect();
                        let mut made = vec![vec![0xee; length]; wanted.len()];
                        let mut buffers: Vec<&mut [u8]> = made.iter_mut().map(Vec::as_mut_slice).collect();
                        recovery.run(&mut buffers, &sources);
                        for (part, made) in wanted.iter().zip(&made) {
                            assert!(
                                made == bytes(*part),
                                "{part:?} of lost {lost:?}, exponents {exponents:?}"
                            );
                        }
                    }
                }
                if *first != Part::Q {
                    let recovery = Recovery::new(Code::P(u16::from(data)), &[*first], &[*first]).unwrap();
                    let sources: Vec<&[u8]> = recovery.sources().iter().map(|part| bytes(*part)).collect();
                    let mut made = vec![0; length];
                    recovery.run(&mut [&mut made], &sources);
                    assert!(made == bytes(*first), "{first:?}");
                }
            }
        }
    }
}

/// R10: what is beyond the level's redundancy is refused, not guessed.
#[test]
fn too_much_loss_is_refused() {
    let lost = [Part::Data(0), Part::Data(1), Part::P];
    assert_eq!(Recovery::new(Code::Pq(&[0, 1, 2]), &lost, &lost[..1]), None);
    assert_eq!(Recovery::new(Code::P(3), &lost[..2], &lost[..1]), None);
    assert_eq!(
        Recovery::new(Code::P(3), &[Part::Data(0), Part::P], &[Part::Data(0)]),
        None
    );
}

/// A single lost data chunk is read from P alone, and costs no Q.
#[test]
fn recovery_reads_no_more_than_it_needs() {
    let one = Recovery::new(Code::Pq(&[0, 1, 2]), &[Part::Data(1)], &[Part::Data(1)]).unwrap();
    assert_eq!(one.sources(), [Part::Data(0), Part::Data(2), Part::P]);
    let q = Recovery::new(Code::Pq(&[0, 1]), &[Part::Q], &[Part::Q]).unwrap();
    assert_eq!(q.sources(), [Part::Data(0), Part::Data(1)]);
    let by_q = Recovery::new(Code::Pq(&[0, 1]), &[Part::P, Part::Data(0)], &[Part::Data(0)]).unwrap();
    assert_eq!(by_q.sources(), [Part::Data(1), Part::Q]);
}

#[test]
fn updates_give_the_parity_of_the_new_data() {
    let length = 333;
    for exponents in exponents(5) {
        let mut chunks = chunks(9, 5, length);
        let (mut parity, mut sum) = (vec![0; length], vec![0; length]);
        pq(&mut parity, &mut sum, &slices(&chunks), &exponents);
        let (mut alone_p, mut alone_q) = (parity.clone(), sum.clone());
        for (chunk, exponent) in (0..5).zip(&exponents) {
            let new = noise(chunk as u64 + 50, length);
            let old = std::mem::replace(&mut chunks[chunk], new);
            update_pq(&mut parity, &mut sum, &old, &chunks[chunk], *exponent);
            update_p(&mut alone_p, &old, &chunks[chunk]);
            update_q(&mut alone_q, &old, &chunks[chunk], *exponent);
        }
        let (mut expected_p, mut expected_q) = (vec![0; length], vec![0; length]);
        pq(&mut expected_p, &mut expected_q, &slices(&chunks), &exponents);
        assert!(parity == expected_p && alone_p == expected_p, "{exponents:?}");
        assert!(sum == expected_q && alone_q == expected_q, "{exponents:?}");
    }
}

#[test]
fn checks_name_the_granules_and_the_parity() {
    let length = 5000;
    let data = chunks(4, 4, length);
    let exponents = [0, 1, 2, 3];
    let (mut parity, mut sum) = (vec![0; length], vec![0; length]);
    pq(&mut parity, &mut sum, &slices(&data), &exponents);
    assert_eq!(check_pq(&parity, &sum, &slices(&data), &exponents, 512), []);
    parity[511] ^= 1;
    sum[1024] ^= 1;
    parity[4999] ^= 1;
    sum[4999] ^= 1;
    let at = |offset_bytes, length_bytes, p, q| Mismatch {
        offset_bytes,
        length_bytes,
        p,
        q,
    };
    let expected = [
        at(0, 512, true, false),
        at(1024, 512, false, true),
        at(4608, 392, true, true),
    ];
    assert_eq!(check_pq(&parity, &sum, &slices(&data), &exponents, 512), expected);
    let expected = [at(0, 512, true, false), at(4608, 392, true, false)];
    assert_eq!(check_p(&parity, &slices(&data), 512), expected);
    let expected = [at(0, 4096, true, true), at(4096, 904, true, true)];
    assert_eq!(check_pq(&parity, &sum, &slices(&data), &exponents, 4096), expected);
}

#[test]
fn a_single_wrong_part_is_found_and_two_are_not() {
    let length = 64;
    for exponents in exponents(6) {
        let right = chunks(8, 6, length);
        let (mut parity, mut sum) = (vec![0; length], vec![0; length]);
        pq(&mut parity, &mut sum, &slices(&right), &exponents);
        assert_eq!(suspect(&parity, &sum, &slices(&right), &exponents), Suspect::Nobody);
        for chunk in 0..6 {
            let mut wrong = right.clone();
            wrong[chunk] = noise(77, length);
            let expected = Suspect::One(Part::Data(u16::try_from(chunk).unwrap()));
            assert_eq!(suspect(&parity, &sum, &slices(&wrong), &exponents), expected);
            wrong[(chunk + 1) % 6][0] ^= 1;
            assert_eq!(suspect(&parity, &sum, &slices(&wrong), &exponents), Suspect::Several);
        }
        let other = noise(78, length);
        assert_eq!(
            suspect(&other, &sum, &slices(&right), &exponents),
            Suspect::One(Part::P)
        );
        assert_eq!(
            suspect(&parity, &other, &slices(&right), &exponents),
            Suspect::One(Part::Q)
        );
        assert_eq!(suspect(&other, &other, &slices(&right), &exponents), Suspect::Several);
    }
}

#[test]
#[should_panic(expected = "cannot be told apart")]
fn equal_exponents_are_refused() {
    Ladder::new(&[0, 1, 1]);
}

#[test]
#[should_panic(expected = "all buffers have")]
fn buffers_of_different_lengths_are_refused() {
    assert_eq!(power(0), 1);
    p(&mut [0; 4], &[&[0; 3]]);
}

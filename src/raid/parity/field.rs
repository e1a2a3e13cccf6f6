//! Arithmetic of GF(256) with the polynomial x^8 + x^4 + x^3 + x^2 + 1 (0x11d) and the generator 2, as RAID 6 has it.
//!
//! Tables are made at compile time. The vector kernels take theirs from here: nibble tables for byte shuffles, bit
//! matrices for the GFNI instructions (whose own polynomial is another one).

/// What is left of x^8: the polynomial's low byte.
pub(super) const POLYNOMIAL: u8 = 0x1d;

/// Powers of 2 before they come again.
pub(super) const ORDER: u8 = 255;

/// Doubles an element.
const fn double(x: u8) -> u8 {
    (x << 1) ^ (if x & 0x80 == 0 { 0 } else { POLYNOMIAL })
}

/// The product of two elements, bit by bit.
const fn product(x: u8, y: u8) -> u8 {
    let (mut x, mut y, mut sum) = (x, y, 0);
    while y != 0 {
        if y & 1 != 0 {
            sum ^= x;
        }
        x = double(x);
        y >>= 1;
    }
    sum
}

/// Powers of 2 by exponent.
static POWERS: [u8; 255] = {
    let mut powers = [1; 255];
    let mut i = 1;
    while i < 255 {
        powers[i] = double(powers[i - 1]);
        i += 1;
    }
    powers
};

/// Exponents of powers of 2; that of 0 is never read.
static LOGARITHMS: [u8; 256] = {
    let mut logarithms = [0; 256];
    let (mut power, mut exponent) = (1_u8, 0_u8);
    while exponent < 255 {
        logarithms[power as usize] = exponent;
        power = double(power);
        exponent += 1;
    }
    logarithms
};

/// For every element: its products with 0..15, then with 0, 16, .., 240. Multiplies by two shuffles.
pub(super) static NIBBLES: [[u8; 32]; 256] = {
    let mut tables = [[0; 32]; 256];
    let mut c = 0_u8;
    loop {
        let mut nibble = 0_u8;
        while nibble < 16 {
            tables[c as usize][nibble as usize] = product(c, nibble);
            tables[c as usize][nibble as usize + 16] = product(c, nibble << 4);
            nibble += 1;
        }
        if c == 255 {
            break tables;
        }
        c += 1;
    }
};

/// For every element: the bit matrix that multiplies by it, as `vgf2p8affineqb` takes it: byte 7 - i holds the bits of
/// the operand that make up bit i of the product.
pub(super) static MATRICES: [u64; 256] = {
    let mut matrices = [0; 256];
    let mut c = 0_u8;
    loop {
        let mut matrix = 0_u64;
        let mut column = 0;
        while column < 8 {
            let image = product(c, 1 << column);
            let mut row = 0;
            while row < 8 {
                if image >> row & 1 != 0 {
                    matrix |= 1 << ((7 - row) * 8 + column);
                }
                row += 1;
            }
            column += 1;
        }
        matrices[c as usize] = matrix;
        if c == 255 {
            break matrices;
        }
        c += 1;
    }
};

/// 2 to the power of `exponent`.
pub(super) fn power(exponent: u8) -> u8 {
    POWERS[usize::from(exponent % ORDER)]
}

/// The exponent whose power of 2 `x` is; `x` is not 0.
pub(super) fn logarithm(x: u8) -> u8 {
    assert!(x != 0, "0 is no power of 2");
    LOGARITHMS[usize::from(x)]
}

/// The product of two elements.
pub(super) fn multiply(x: u8, y: u8) -> u8 {
    if x == 0 || y == 0 {
        return 0;
    }
    let sum = u16::from(logarithm(x)) + u16::from(logarithm(y));
    POWERS[usize::from(sum % u16::from(ORDER))]
}

/// What gives 1 when multiplied by `x`, which is not 0.
pub(super) fn inverse(x: u8) -> u8 {
    power(ORDER - logarithm(x))
}

#[cfg(test)]
mod tests {
    use super::{MATRICES, NIBBLES, double, inverse, logarithm, multiply, power, product};

    #[test]
    fn tables_agree_with_long_multiplication() {
        for x in 0..=255 {
            for y in 0..=255 {
                let expected = product(x, y);
                assert_eq!(multiply(x, y), expected);
                let table = &NIBBLES[usize::from(x)];
                let by_nibbles = table[usize::from(y & 15)] ^ table[16 + usize::from(y >> 4)];
                assert_eq!(by_nibbles, expected);
                let rows = MATRICES[usize::from(x)].to_be_bytes();
                let by_matrix = (0..8)
                    .map(|bit| u8::from((rows[bit] & y).count_ones() % 2 == 1) << bit)
                    .sum::<u8>();
                assert_eq!(by_matrix, expected);
            }
        }
    }

    #[test]
    fn powers_of_two_are_those_of_raid6() {
        // From the table of the paper "The mathematics of RAID-6" by H. P. Anvin.
        let known = [
            (0, 1),
            (1, 2),
            (7, 0x80),
            (8, 0x1d),
            (9, 0x3a),
            (25, 3),
            (50, 5),
            (254, 0x8e),
        ];
        for (exponent, value) in known {
            assert_eq!(power(exponent), value);
            assert_eq!(logarithm(value), exponent);
        }
        for x in 1..=255 {
            assert_eq!(multiply(x, inverse(x)), 1);
            assert_eq!(double(x), multiply(2, x));
        }
    }
}

//! Making lost parts of a stripe again, one or two of data, P and Q in any combination.
//!
//! Every part is a sum of the others times constants. A [`Recovery`] works those out once for a pattern of loss; then
//! each stripe, or piece of one, takes one pass over what is left.

use super::{field, kernel::best, ladder::Ladder};

/// How the parities of a stripe are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code<'a> {
    /// P alone, over so many data chunks.
    P(u16),
    /// P and Q; the exponents of the data chunks in their order.
    Pq(&'a [u8]),
}

/// A chunk of a stripe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// A data chunk, in the order that the data are given.
    Data(u16),
    /// The xor.
    P,
    /// The sum.
    Q,
}

/// What makes lost parts again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    sources: Vec<Part>,
    way: Way,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    /// One part: the xor of the sources.
    Xor,
    /// P, then Q, of all data; the exponents.
    Generate(Vec<u8>),
    /// One sum.
    One(Vec<u8>),
    /// Two sums.
    Two([Vec<u8>; 2]),
}

/// A part as a sum: a factor for each data chunk, then for P and Q.
type Sum = Vec<u8>;

impl Recovery {
    /// Finds how to make `wanted`, of which all are lost, without any of `lost`. None where too much is lost.
    ///
    /// # Panics
    /// Where the parts are not those of the code, or a wanted part is not lost, or nothing is wanted.
    pub fn new(code: Code<'_>, lost: &[Part], wanted: &[Part]) -> Option<Self> {
        let (exponents, parities) = match code {
            Code::P(data) => (vec![0; usize::from(data)], 1),
            Code::Pq(exponents) => (exponents.to_vec(), 2),
        };
        check_parts(exponents.len(), parities, lost, wanted);
        if lost.len() > parities {
            return None;
        }
        if wanted == [Part::P, Part::Q] {
            return Some(Self {
                sources: data_parts(exponents.len()).collect(),
                way: Way::Generate(exponents),
            });
        }
        let equations = Equations {
            exponents: &exponents,
            lost,
        };
        let sums: Vec<Sum> = wanted.iter().map(|part| equations.sum_of(*part)).collect();
        let needed = |index: &usize| sums.iter().any(|sum| sum[*index] != 0);
        let columns: Vec<usize> = (0..exponents.len() + 2).filter(needed).collect();
        let parts: Vec<Part> = data_parts(exponents.len()).chain([Part::P, Part::Q]).collect();
        let factors = |sum: &Sum| -> Vec<u8> { columns.iter().map(|index| sum[*index]).collect() };
        let way = match sums.as_slice() {
            [one] if columns.iter().all(|index| one[*index] == 1) => Way::Xor,
            [one] => Way::One(factors(one)),
            [first, second] => Way::Two([factors(first), factors(second)]),
            _ => return None,
        };
        Some(Self {
            sources: columns.iter().map(|index| parts[*index]).collect(),
            way,
        })
    }

    /// The parts that have to be read, in the order that [`Self::run`] takes them.
    pub fn sources(&self) -> &[Part] {
        &self.sources
    }

    /// Makes the wanted parts, in the order they were named, from the sources.
    pub fn run(&self, wanted: &mut [&mut [u8]], sources: &[&[u8]]) {
        assert_eq!(sources.len(), self.sources.len(), "a buffer for every source");
        match (&self.way, wanted) {
            (Way::Xor, [into]) => best().xor(into, sources, false),
            (Way::One(factors), [into]) => best().combine(into, sources, factors),
            (Way::Two([first, second]), [one, two]) => best().combine_two(&mut [one, two], sources, [first, second]),
            (Way::Generate(exponents), [p, q]) => best().pq(p, q, sources, &Ladder::new(exponents)),
            (_, wanted) => panic!("{} buffers for the wanted parts", wanted.len()),
        }
    }
}

fn data_parts(data: usize) -> impl Iterator<Item = Part> {
    (0..=u16::MAX).take(data).map(Part::Data)
}

fn check_parts(data: usize, parities: usize, lost: &[Part], wanted: &[Part]) {
    let of_code = |part: &Part| match part {
        Part::Data(index) => usize::from(*index) < data,
        Part::P => true,
        Part::Q => parities == 2,
    };
    assert!(
        lost.iter().all(of_code),
        "{lost:?} of {data} data chunks and {parities} parities"
    );
    assert!(!wanted.is_empty(), "nothing is wanted");
    let once = |parts: &[Part]| parts.iter().enumerate().all(|(at, part)| !parts[..at].contains(part));
    assert!(
        once(lost) && once(wanted),
        "a part is named twice: {lost:?}, {wanted:?}"
    );
    assert!(
        wanted.iter().all(|part| lost.contains(part)),
        "{wanted:?} of which not all is lost"
    );
}

/// The two equations of a stripe, and what is unknown in them.
struct Equations<'a> {
    exponents: &'a [u8],
    lost: &'a [Part],
}

impl Equations<'_> {
    fn lost_data(&self) -> impl Iterator<Item = usize> {
        self.lost.iter().filter_map(|part| match part {
            Part::Data(index) => Some(usize::from(*index)),
            Part::P | Part::Q => None,
        })
    }

    /// P, or what is left of it: the sum of the data that are there, and P itself. It equals the lost data's share.
    fn p_share(&self) -> Sum {
        self.share(|_| 1, self.exponents.len())
    }

    fn q_share(&self) -> Sum {
        self.share(field::power, self.exponents.len() + 1)
    }

    fn share(&self, factor: impl Fn(u8) -> u8, parity: usize) -> Sum {
        let mut sum: Sum = self.exponents.iter().map(|exponent| factor(*exponent)).collect();
        sum.extend([0, 0]);
        self.lost_data().for_each(|index| sum[index] = 0);
        sum[parity] = 1;
        sum
    }

    /// A lost data chunk.
    fn data(&self, index: usize) -> Sum {
        let power = |index: usize| field::power(self.exponents[index]);
        match self.lost_data().find(|other| *other != index) {
            None if !self.lost.contains(&Part::P) => self.p_share(),
            None => scaled(&self.q_share(), field::inverse(power(index))),
            Some(other) => {
                // P' = Dx + Dy and Q' = gx Dx + gy Dy, so Dx = (gy P' + Q') / (gx + gy).
                let both = added(&scaled(&self.p_share(), power(other)), &self.q_share());
                scaled(&both, field::inverse(power(index) ^ power(other)))
            }
        }
    }

    /// Any lost part.
    fn sum_of(&self, part: Part) -> Sum {
        let (share, parity) = match part {
            Part::Data(index) => return self.data(usize::from(index)),
            Part::P => (self.p_share(), self.exponents.len()),
            Part::Q => (self.q_share(), self.exponents.len() + 1),
        };
        let mut sum = share;
        sum[parity] = 0;
        for index in self.lost_data() {
            let factor = if part == Part::P {
                1
            } else {
                field::power(self.exponents[index])
            };
            sum = added(&sum, &scaled(&self.data(index), factor));
        }
        sum
    }
}

fn scaled(sum: &Sum, factor: u8) -> Sum {
    sum.iter().map(|other| field::multiply(*other, factor)).collect()
}

fn added(sum: &Sum, other: &Sum) -> Sum {
    sum.iter().zip(other).map(|(one, other)| one ^ other).collect()
}

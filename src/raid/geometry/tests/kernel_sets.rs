//! Sets of members that mdadm and Linux md wrote, put together by [`Geometry`] alone.
//!
//! Word `i` of every array holds `i`; so every word tells whether it was found in its place. Only a handful of fields
//! of the superblock are read here, by their offsets in md's specification: what is tested is arithmetic.

use std::{fs, path::Path, process::Command};

use super::super::{Direction, Geometry, ReshapeView, Side, SidePiece};
use crate::raid::{
    Level, SECTOR_BYTES, Slot,
    parity::{self, Code, Part, Recovery},
};

/// Every case of `images/raid` that is not on its way from one geometry to another.
const STILL: &[&str] = &[
    "linear_n3",
    "linear_n3_rounded",
    "r0_n3_12k",
    "r0_n3_64k",
    "r0_n4_zones_alt",
    "r0_n4_zones_orig",
    "r0_unequal_alt",
    "r0_unequal_orig",
    "r10_f2_n3",
    "r10_f2_n4_64k",
    "r10_f2_n5",
    "r10_f2buggy_n5",
    "r10_f2sets_n4",
    "r10_f2sets_n5",
    "r10_f3_n5",
    "r10_n2_n3",
    "r10_n2_n4_64k",
    "r10_n2_n5",
    "r10_n2f2_n4",
    "r10_n2f2_n5",
    "r10_n3_n5",
    "r10_o2_n3",
    "r10_o2_n4",
    "r10_o2sets_n5",
    "r10_o3_n5",
    "r1_n2_bitmap",
    "r1_n3",
    "r4_n4",
    "r5_n2",
    "r5_n3_512k_bitmap",
    "r5_n3_degraded",
    "r5_n4_64k",
    "r5_n4_la",
    "r5_n4_pfirst",
    "r5_n4_plast",
    "r5_n4_ra",
    "r5_n4_rs",
    "r6_n5_64k",
    "r6_n5_ddf_n_continue",
    "r6_n5_ddf_n_restart",
    "r6_n5_ddf_zero_restart",
    "r6_n5_degraded2",
    "r6_n5_la",
    "r6_n5_la_6",
    "r6_n5_ls_6",
    "r6_n5_pfirst",
    "r6_n5_pfirst_6",
    "r6_n5_plast",
    "r6_n5_ra",
    "r6_n5_ra_6",
    "r6_n5_rs",
    "r6_n5_rs_6",
    "r6_n6_512k_bitmap",
];

/// Cases stopped in the middle of a reshape.
const MOVING: &[&str] = &[
    "r5_grow_3_4",
    "r5_restripe_ls_ra",
    "r5_chunk_64_128",
    "r5_shrink_4_3",
    "r5_to_r6",
    "r10_grow_4_5",
];

/// The members of a case by slot, `None` where one is missing.
struct Set {
    members: Vec<Option<Vec<u8>>>,
    size_bytes: u64,
    sha256: String,
}

impl Set {
    fn unpack(case: &str) -> Self {
        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("images/raid/{case}/set.tar.xz"));
        let folder = tempfile::tempdir().unwrap();
        let done = Command::new("tar")
            .arg("-xJf")
            .arg(&archive)
            .arg("-C")
            .arg(folder.path())
            .status()
            .unwrap();
        assert!(done.success(), "{} does not unpack", archive.display());
        let member = |slot: u32| fs::read(folder.path().join(format!("m{slot}.img"))).ok();
        let magic = |image: &Vec<u8>| image[4096..4100] == 0xa92b_4efc_u32.to_le_bytes();
        let result = fs::read_to_string(folder.path().join("res")).unwrap();
        let words: Vec<&str> = result.split_whitespace().collect();
        Self {
            members: (0..).map_while(member).map(|image| Some(image).filter(magic)).collect(),
            size_bytes: words[1].parse().unwrap(),
            sha256: words[3].to_owned(),
        }
    }

    /// A member that is there, for what all superblocks say alike.
    fn any(&self) -> &[u8] {
        self.members.iter().flatten().next().unwrap()
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.any()[4096 + at..][..4].try_into().unwrap())
    }

    fn i32(&self, at: usize) -> i32 {
        i32::from_le_bytes(self.any()[4096 + at..][..4].try_into().unwrap())
    }

    fn sectors(image: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(image[4096 + at..][..8].try_into().unwrap())
    }

    fn level(&self) -> Level {
        Level::from_code(self.i32(0x48)).unwrap()
    }

    /// Sizes of data areas: `data_size` of each at linear and RAID 0, `size` elsewhere.
    fn member_bytes(&self, slots: usize) -> Vec<u64> {
        let size = Self::sectors(self.any(), 0x50) * SECTOR_BYTES;
        let each = |image: &Option<Vec<u8>>| match image {
            Some(image) if self.level().is_bare() => Self::sectors(image, 0x88) * SECTOR_BYTES,
            _ => size,
        };
        self.members.iter().take(slots).map(each).collect()
    }

    fn geometry(&self) -> Geometry {
        let chunk_bytes = u64::from(self.u32(0x58)) * SECTOR_BYTES;
        let slots = self.members.len();
        assert_eq!(self.u32(0x5c) as usize, slots);
        Geometry::new(self.level(), self.u32(0x4c), chunk_bytes, &self.member_bytes(slots)).unwrap()
    }

    /// The two geometries of a set in reshape: `layout` and `chunk` are the old ones, `raid_disks` is the new one.
    fn reshape(&self) -> ReshapeView {
        let delta = self.i32(0x70);
        let new = i32::try_from(self.u32(0x5c)).unwrap();
        let old = new - delta;
        assert_eq!(old.max(new) as usize, self.members.len());
        let shape = |slots: i32, layout: usize, chunk: usize| {
            let chunk_bytes = u64::from(self.u32(chunk)) * SECTOR_BYTES;
            let sizes = self.member_bytes(slots as usize);
            Geometry::new(self.level(), self.u32(layout), chunk_bytes, &sizes).unwrap()
        };
        let backward = delta < 0 || self.u32(8) & 32 != 0;
        let direction = if backward {
            Direction::Backward
        } else {
            Direction::Forward
        };
        let moved = if self.u32(8) & 64 == 0 {
            0
        } else {
            i64::from(self.i32(0x7c))
        };
        let position = Self::sectors(self.any(), 0x68) * SECTOR_BYTES;
        let (old, new) = (shape(old, 0x4c, 0x58), shape(new, 0x74, 0x78));
        ReshapeView::new(old, new, direction, moved * 512, position).unwrap()
    }

    /// A range of a member's data area; `shift_bytes` is how far that area is moved.
    fn data(&self, slot: Slot, shift_bytes: i64, offset: u64, length: u64) -> Option<&[u8]> {
        let image = self.members[slot.index()].as_ref()?;
        let start = Self::sectors(image, 0x80) * SECTOR_BYTES + offset;
        let start = usize::try_from(start.strict_add_signed(shift_bytes)).unwrap();
        Some(&image[start..start + usize::try_from(length).unwrap()])
    }

    /// Data that its member does not hold: made again from the rest of the stripe.
    fn rebuilt(&self, geometry: &Geometry, array_offset: u64, length: u64) -> Vec<u8> {
        let position = geometry.stripe_of(array_offset).unwrap();
        let (stripe, offset) = (position.stripe, position.member_offset_bytes());
        let exponents: Vec<u8> = (0..stripe.data_chunks()).map(|index| stripe.exponent(index)).collect();
        let code = match stripe.q {
            None => Code::P(stripe.data_chunks()),
            Some(_) => Code::Pq(&exponents),
        };
        let slot = |part| match part {
            Part::Data(index) => stripe.data_slot(index),
            Part::P => stripe.p,
            Part::Q => stripe.q.unwrap(),
        };
        let parities = [Part::P, Part::Q]
            .into_iter()
            .take(usize::from(geometry.level().parities()));
        let lost: Vec<Part> = (0..stripe.data_chunks())
            .map(Part::Data)
            .chain(parities)
            .filter(|part| self.members[slot(*part).index()].is_none())
            .collect();
        let recovery = Recovery::new(code, &lost, &[Part::Data(position.index)]).unwrap();
        let sources: Vec<&[u8]> = recovery
            .sources()
            .iter()
            .map(|part| self.data(slot(*part), 0, offset, length).unwrap())
            .collect();
        let mut made = vec![0; usize::try_from(length).unwrap()];
        recovery.run(&mut [&mut made], &sources);
        made
    }

    /// Holds a range to the words that it must be, and to what `sha256sum` says of the whole.
    fn check_words(&self, case: &str, array: &[u8]) {
        let words = array
            .chunks_exact(8)
            .map(|word| u64::from_le_bytes(word.try_into().unwrap()));
        for (index, word) in (0..).zip(words) {
            assert_eq!(word, index, "{case}: word {index}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), array).unwrap();
        let sum = Command::new("sha256sum").arg(file.path()).output().unwrap().stdout;
        assert!(sum.starts_with(self.sha256.as_bytes()), "{case}: sha256");
    }
}

/// R08, R09: every level and layout is where md puts it, and all copies are.
#[test]
fn every_word_of_every_kernel_made_set_is_found() {
    for case in STILL {
        let set = Set::unpack(case);
        let geometry = set.geometry();
        assert_eq!(geometry.capacity_bytes(), set.size_bytes, "{case}");
        let mut array = Vec::new();
        for piece in geometry.map(0, geometry.capacity_bytes()) {
            let mut copies: Vec<&[u8]> = piece
                .copies()
                .filter_map(|(slot, offset)| set.data(slot, 0, offset, piece.length_bytes))
                .collect();
            let rebuilt = copies
                .is_empty()
                .then(|| set.rebuilt(&geometry, piece.array_offset_bytes, piece.length_bytes));
            copies.extend(rebuilt.as_deref());
            array.extend_from_slice(copies[0]);
            assert!(copies.iter().all(|copy| *copy == copies[0]), "{case}: {piece:?}");
        }
        set.check_words(case, &array);
    }
}

/// R10: P and Q of every stripe are what md wrote, at the exponents of md and of DDF.
#[test]
fn every_parity_of_every_kernel_made_set_is_right() {
    let mut stripes = 0;
    for case in STILL {
        let set = Set::unpack(case);
        let geometry = set.geometry();
        if set.members.iter().any(Option::is_none) {
            continue;
        }
        for stripe in (0..geometry.stripes()).map(|number| geometry.stripe(number).unwrap()) {
            let chunk = |slot| {
                set.data(slot, 0, stripe.member_offset_bytes, geometry.chunk_bytes())
                    .unwrap()
            };
            let data: Vec<&[u8]> = stripe.data().map(chunk).collect();
            let exponents: Vec<u8> = (0..stripe.data_chunks()).map(|index| stripe.exponent(index)).collect();
            let wrong = match stripe.q {
                None => parity::check_p(chunk(stripe.p), &data, 512),
                Some(q) => parity::check_pq(chunk(stripe.p), chunk(q), &data, &exponents, 512),
            };
            assert_eq!(wrong, [], "{case}: stripe {}", stripe.number);
            stripes += 1;
        }
    }
    assert!(stripes > 500, "{stripes}");
}

/// R59: an array that md left in the middle of a reshape is whole through the view of both geometries.
#[test]
fn every_word_of_every_set_in_reshape_is_found() {
    for case in MOVING {
        let set = Set::unpack(case);
        let view = set.reshape();
        let capacity = view.capacity_bytes();
        assert!(view.position_bytes() > 0 && view.position_bytes() < capacity, "{case}");
        assert_eq!(set.size_bytes, capacity, "{case}");
        let mut array = Vec::new();
        let mut sides = [0, 0];
        for SidePiece { side, piece } in view.map(0, capacity) {
            let shift = view.shift_bytes(side);
            sides[usize::from(side == Side::New)] += 1;
            let copies = piece
                .copies()
                .map(|(slot, offset)| set.data(slot, shift, offset, piece.length_bytes));
            let copies: Vec<&[u8]> = copies.map(Option::unwrap).collect();
            array.extend_from_slice(copies[0]);
            assert!(copies.iter().all(|copy| *copy == copies[0]), "{case}: {piece:?}");
        }
        assert!(sides.iter().all(|pieces| *pieces > 0), "{case}");
        set.check_words(case, &array);
    }
}

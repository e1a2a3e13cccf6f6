//! Arrays on their way to another shape, between the engine and a real kernel's md.
//!
//! What the kernel left half-way is served byte for byte on both sides of its position and finished here; what we left
//! half-way the kernel finishes. Each 64-bit word of an array holds its number.

use std::{
    fmt::Write as _,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use headstack::raid::{
    Array, Error, Level, Slot,
    assemble::{Assembly, assemble},
    create::{Initialisation, NewImage, Wish, create},
    metadata::{
        identity::{Time, Uuid},
        superblock::{Role, Version},
    },
    rebuild::Ending,
    reshape::Plan,
};

use super::{
    image,
    md::Kernel,
    served::{MIB, check_words, images, losses},
    superblock_at,
};

const MEMBER_BYTES: u64 = 12 * MIB;

/// A reshape by mdadm: what is special, options to create with, members before and after, options to grow with, how many
/// sets of at most two lost members half-way can be done without.
type Case = (&'static str, &'static str, u16, u16, &'static str, usize);

const CASES: &[Case] = &[
    ("r5_3to4", "-l5 -c64 --bitmap=internal", 3, 4, "-n4", 5),
    ("r6_4to5", "-l6 -c64", 4, 5, "-n5", 16),
    ("r0_2to3", "-l0 -c64", 2, 3, "-n3", 1),
    ("r10_4to5", "-l10 -c64 --bitmap=internal", 4, 5, "-n5", 11),
    ("r1to5", "-l1", 2, 3, "-l5 -n3", 4),
];

/// The same where as many members hold data as before. Until such an array is assembled anew md does not reckon with the
/// room before the data, and overwrites what its superblocks still count on (Linux 6.1): so there is much room, and it is
/// stopped and assembled at the start.
const MIGRATIONS: &[Case] = &[
    ("r0to5", "-l0 -c64 --data-offset=4M", 2, 3, "-l5 -n3", 2),
    ("r5to6", "-l5 -c64 --data-offset=4M", 3, 4, "-l6 -n4", 8),
    ("r5_chunk", "-l5 -c64 --data-offset=4M", 4, 4, "-c128", 5),
];

/// Shell functions of the scripts.
const FUNCTIONS: &str = r#"
words() { python3 -c 'import sys,struct
n=int(sys.argv[1])//8
f=open(sys.argv[2],"rb")
at=0
while at<n:
 b=f.read(min(1<<20,8*(n-at)))
 k=len(b)//8
 assert k
 w=struct.unpack("<%dQ"%k,b)
 assert w==tuple(range(at,at+k)),(at)
 at+=k
print("words right",n)' "$@"; }
attach() { loops=; for f in "$@"; do loops="$loops $(losetup -f --show ./$f)"; done; }
detach() { mdadm --stop /dev/md0; losetup -d $loops; }
pass() { n=0; while [ "$(cat $s/reshape_position)" != none ] && [ "$(cat $s/reshape_position)" -lt $1 ]; do
 sleep 0.05; n=$((n+1)); [ $n -lt 4000 ]; done; }
s=/sys/block/md0/md
held() { ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q /dev/md0; }
# A stop that fails because somebody has the array open lets md drop the member that it is filling: so it is waited first.
quiet() { n=0; while held; do sleep 0.05; n=$((n+1)); [ $n -lt 4000 ]; done; }
stop() { quiet; n=0; until echo clear 2>/dev/null >$s/array_state; do sleep 0.05; n=$((n+1)); [ $n -lt 4000 ]; done; while [ -e $s/array_state ] && [ "$(cat $s/array_state)" != clear ]; do sleep 0.05; done; }
"#;

fn names(case: &str, members: u16) -> Vec<String> {
    (0..members).map(|member| format!("{case}.{member}")).collect()
}

/// Makes the images of a case.
fn make(folder: &Path, case: &str, members: u16) -> Vec<PathBuf> {
    let names = names(case, members);
    names.iter().map(|name| image(folder, name, MEMBER_BYTES)).collect()
}

/// Lets the kernel begin each reshape and leave it half-way.
fn leave_half_way(kernel: &Kernel, folder: &Path, cases: &[Case], speed: u32) {
    let words: Vec<u8> = (0..4 * MEMBER_BYTES / 8).flat_map(u64::to_le_bytes).collect();
    fs::write(folder.join("words"), words).unwrap();
    let mut script =
        format!("set -e\n{FUNCTIONS}\ncd /proc/sys/dev/raid; echo 200 >speed_limit_min; cd - >/dev/null\n");
    for (name, create, before, after, grow, _) in cases {
        make(folder, name, *after);
        let all = names(name, *after).join(" ");
        writeln!(
            script,
            "echo case {name}; attach {all}; set -- $loops
first=; more=; n=0; for l in $loops; do if [ $n -lt {before} ]; then first=\"$first $l\"; else more=\"$more $l\"; fi; n=$((n+1)); done
echo {speed} >/proc/sys/dev/raid/speed_limit_max
mdadm --create /dev/md0 --run {assume} {create} -n{before} $first 2>&1 </dev/null
dd if=words of=/dev/md0 bs=64k count=$(($(blockdev --getsize64 /dev/md0)/65536)) 2>/dev/null; sync
mdadm --grow /dev/md0 {takeover} {grow} ${{more:+--add $more}} 2>&1 </dev/null
{again}
pass 3000; cat $s/reshape_position
# Not frozen first: then md would drop the member that it is filling.
stop; losetup -d $loops; echo left half-way",
            assume = if create.starts_with("-l0") { "" } else { "--assume-clean" },
            again = if create.contains("data-offset") {
                "stop; mdadm --assemble /dev/md0 $loops 2>&1"
            } else {
                ""
            },
            takeover = if *name == "r1to5" { "-l5 2>&1; mdadm --grow /dev/md0" } else { "" },
        )
        .unwrap();
    }
    let said = kernel.run(folder, &script, &[]);
    assert_eq!(said.matches("left half-way").count(), cases.len(), "{said}");
}

/// True where a set is the case that is meant. A stop that md has to try again drops the member that it fills, and one that
/// comes late finds data overwritten (see [`MIGRATIONS`]), which md does not read any more either.
fn is_meant(kernel: &Kernel, folder: &Path, (name, _, _, after, ..): &Case) -> bool {
    let superblock = superblock_at(&folder.join(format!("{name}.0")), Version::V1_2);
    if !(0..*after).all(|slot| superblock.roles.contains(&Role::Active(Slot(slot)))) {
        return false;
    }
    let names = names(name, *after);
    let how = Assembly {
        read_only: true,
        ..Assembly::default()
    };
    let array = assemble(&images(folder, names.iter().map(PathBuf::from)), how).unwrap();
    if wrong_word(&array, array.size_bytes()).is_none() {
        return true;
    }
    let script = format!(
        "set -e\n{FUNCTIONS}
copies=; for f in {}; do cp $f copy.$f; copies=\"$copies copy.$f\"; done; attach $copies
mdadm --assemble --run /dev/md0 $loops 2>&1
words $(blockdev --getsize64 /dev/md0) /dev/md0 || echo lost
stop; losetup -d $loops",
        names.join(" ")
    );
    !kernel.run(folder, &script, &[]).lines().any(|line| line == "lost")
}

/// R59: what the kernel left half-way is served byte for byte on both sides of the position, whichever members are lost as
/// long as both sides allow it.
#[test]
fn growth_that_the_kernel_left_half_way_is_served_byte_for_byte() {
    serve_half_way(CASES, 2000);
}

/// R59: the same for migrations and for another chunk size.
#[test]
fn migration_that_the_kernel_left_half_way_is_served_byte_for_byte() {
    serve_half_way(MIGRATIONS, 1000);
}

fn serve_half_way(cases: &[Case], speed: u32) {
    let Some(kernel) = Kernel::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    leave_half_way(&kernel, folder.path(), cases, speed);
    for case in cases {
        let mut tries = 0;
        while !is_meant(&kernel, folder.path(), case) {
            tries += 1;
            assert!(tries < 10, "{}: md drops a member or loses data each time", case.0);
            for name in names(case.0, case.3) {
                fs::remove_file(folder.path().join(name)).unwrap();
            }
            leave_half_way(&kernel, folder.path(), std::slice::from_ref(case), speed);
        }
    }
    let mut sets = Vec::new();
    for (name, create, _, after, grow, survivable) in cases {
        let first = superblock_at(&folder.path().join(format!("{name}.0")), Version::V1_2);
        let position = first
            .reshaping()
            .unwrap_or_else(|| panic!("{name} is not half-way"))
            .position;
        assert!(position > 0, "{name} has not begun");
        let mut served = 0;
        for lost in losses(*after) {
            let present = (0..*after).filter(|slot| !lost.contains(slot));
            let present = images(
                folder.path(),
                present.map(|slot| PathBuf::from(format!("{name}.{slot}"))),
            );
            let how = Assembly {
                read_only: true,
                ..Assembly::default()
            };
            let missing: Vec<Slot> = lost.iter().copied().map(Slot).collect();
            match assemble(&present, how) {
                Ok(array) => {
                    check_words(&array, &format!("{name} without {missing:?}"));
                    served += 1;
                }
                Err(Error::NotStartable { .. }) if !lost.is_empty() => {}
                Err(error) => panic!("{name} without {missing:?}: {error}"),
            }
        }
        assert_eq!(served, *survivable, "{name}");
        sets.push(Set {
            name,
            members: *after,
            bytes: finish(folder.path(), name, *after),
            bare: create.starts_with("-l0") && !grow.contains("-l5"),
            right: !create.starts_with("-l0") || grow.contains("-l5"),
        });
    }
    kernel_checks(&kernel, folder.path(), &sets);
}

/// What the kernel is to check.
struct Set {
    name: &'static str,
    members: u16,
    /// Bytes that hold words.
    bytes: u64,
    /// True where there is no redundancy.
    bare: bool,
    /// True where redundancy is right everywhere: not in what a RAID 10 grew by under Linux, which leaves that as it is.
    right: bool,
}

/// Moves a set on to its end; returns the size that it had before.
fn finish(folder: &Path, name: &str, members: u16) -> u64 {
    let all = images(folder, names(name, members).into_iter().map(PathBuf::from));
    let array = assemble(&all, Assembly::default()).unwrap();
    let before = array.size_bytes();
    let ended = array.reshape(&mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!((ended, array.status().reshape), (Ending::Complete, None), "{name}");
    check_first_words(&array, before, name);
    array.stop(Time::new(1_700_000_100, 0)).unwrap();
    before
}

/// Looks at the words that were written before the array grew.
fn check_first_words(array: &Array, bytes: u64, what: &str) {
    assert_eq!(wrong_word(array, bytes), None, "{what}");
}

/// The first of an array's words that is not its number.
fn wrong_word(array: &Array, bytes: u64) -> Option<u64> {
    let mut read = vec![0xee; usize::try_from(bytes).unwrap()];
    array.read_at(&mut read, 0).unwrap();
    let mut words = (0_u64..).zip(read.chunks_exact(8));
    words.find_map(|(number, word)| (word != number.to_le_bytes()).then_some(number))
}

/// Lets the kernel assemble each set, wait for what is under way, and look at
/// words and parity.
fn kernel_checks(kernel: &Kernel, folder: &Path, sets: &[Set]) {
    let mut script = format!("set -e\n{FUNCTIONS}\n");
    for Set {
        name,
        members,
        bytes,
        right,
        ..
    } in sets
    {
        let all = names(name, *members).join(" ");
        writeln!(
            script,
            "echo case {name}; attach {all}
mdadm --assemble /dev/md0 $loops 2>&1 </dev/null
n=0; while [ -e $s/sync_action ] && {{ [ \"$(cat $s/sync_action)\" != idle ] || [ \"$(cat $s/reshape_position)\" != none ]; }}; do
 sleep 0.1; n=$((n+1)); [ $n -lt 3000 ] || {{ cat /proc/mdstat; exit 1; }}; done
words {bytes} /dev/md0"
        )
        .unwrap();
        if *right {
            script.push_str(
                "test \"$(cat $s/degraded)\" = 0
echo check >$s/sync_action; while [ \"$(cat $s/sync_action)\" != idle ]; do sleep 0.05; done
test \"$(cat $s/mismatch_cnt)\" = 0; echo no mismatch\n",
            );
        }
        script.push_str("detach 2>&1\n");
    }
    let said = kernel.run(folder, &script, &[]);
    assert_eq!(said.matches("words right").count(), sets.len(), "{said}");
    let redundant = sets.iter().filter(|set| set.right).count();
    assert_eq!(said.matches("no mismatch").count(), redundant, "{said}");
}

/// Level, layout, members, chunk in KiB; the same afterwards, with members more.
type Way = (&'static str, Level, u32, u16, u64, Level, u64, u16);

const WAYS: &[Way] = &[
    ("w5_3to4", Level::Raid5, 2, 3, 64, Level::Raid5, 64, 1),
    ("w6_4to6", Level::Raid6, 2, 4, 64, Level::Raid6, 64, 2),
    ("w0to5", Level::Raid0, 0, 2, 64, Level::Raid5, 64, 1),
    ("w1to5", Level::Raid1, 0, 2, 0, Level::Raid5, 64, 1),
    ("w5to6", Level::Raid5, 2, 3, 64, Level::Raid6, 64, 1),
    ("w5_chunk", Level::Raid5, 2, 4, 64, Level::Raid5, 128, 0),
    ("w10_4to5", Level::Raid10, 0x102, 4, 64, Level::Raid10, 64, 1),
    ("w0_2to3", Level::Raid0, 0, 2, 64, Level::Raid0, 64, 1),
];

/// Makes an array and fills it with its words; images that are to become members too.
fn ours(
    folder: &Path,
    number: u8,
    (name, level, layout, members, chunk_kib): (&str, Level, u32, u16, u64),
    more: u16,
) -> (Array, Vec<NewImage>) {
    make(folder, name, members + more);
    let uuid = |member: u16| {
        Uuid([
            number + 1,
            u8::try_from(member).unwrap(),
            7,
            7,
            7,
            7,
            7,
            7,
            7,
            7,
            7,
            7,
            7,
            7,
            7,
            7,
        ])
    };
    let all = images(folder, names(name, members + more).into_iter().map(PathBuf::from));
    let mut new: Vec<NewImage> = (0..)
        .zip(all)
        .map(|(member, image)| NewImage {
            image,
            uuid: uuid(member),
        })
        .collect();
    let added = new.split_off(usize::from(members));
    let wish = Wish {
        name: name.to_owned(),
        uuid: uuid(200),
        created: Time::new(1_700_000_000, 0),
        level,
        layout,
        chunk_bytes: chunk_kib << 10,
        initialisation: Initialisation::Foreground,
        member_bytes: None,
        bitmap_chunk_bytes: (!level.is_bare()).then_some(0),
        overwrite: false,
    };
    let array = create(&wish, &new.into_iter().map(Some).collect::<Vec<_>>(), &[]).unwrap();
    let words: Vec<u8> = (0..array.size_bytes() / 8).flat_map(u64::to_le_bytes).collect();
    array.write_at(&words, 0, false).unwrap();
    (array, added)
}

/// Makes an array, fills it with its words and leaves it half-way.
fn leave_ours(folder: &Path, number: u8, way: &Way) -> Set {
    let (name, level, layout, members, chunk_kib, to, new_chunk_kib, more) = *way;
    let (array, added) = ours(folder, number, (name, level, layout, members, chunk_kib), more);
    let plan = Plan {
        level: Some(to),
        chunk_bytes: Some(new_chunk_kib << 10),
        images: added,
        ..Plan::default()
    };
    array.begin_reshape(&plan).unwrap();
    let mut steps = 0;
    let ended = array.reshape(&mut |progress| {
        steps += 1;
        assert!(progress.done_bytes < progress.whole_bytes, "{name} is at its end");
        if steps == 2 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    assert_eq!(ended.unwrap(), Ending::Stopped);
    check_words(&array, name);
    array.stop(Time::new(1_700_000_100, 0)).unwrap();
    Set {
        name,
        members: members + more,
        bytes: array.size_bytes(),
        bare: to.is_bare(),
        right: to.parities() > 0,
    }
}

/// R59: what we left half-way the kernel takes, finishes and finds whole, with parity that is right; then we read it again.
#[test]
fn kernel_finishes_reshapes_that_we_left_half_way() {
    let Some(kernel) = Kernel::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let sets: Vec<Set> = (0..)
        .zip(WAYS)
        .map(|(number, way)| leave_ours(folder.path(), number, way))
        .collect();
    kernel_checks(&kernel, folder.path(), &sets);
    for set in &sets {
        let all = images(
            folder.path(),
            names(set.name, set.members).into_iter().map(PathBuf::from),
        );
        let how = Assembly {
            read_only: true,
            ..Assembly::default()
        };
        let array = assemble(&all, how).unwrap_or_else(|error| panic!("{}: {error}", set.name));
        // Linux leaves a RAID 0 that grew as a RAID 4 without its parity, which mdadm turns back into a RAID 0.
        assert_eq!(array.status().degraded, set.bare, "{}", set.name);
        check_first_words(&array, set.bytes, set.name);
    }
}

/// R22, R59: arrays that we made larger by larger members, and a mirror that took another copy, are Linux's: it finds every
/// word, also in what is new, makes redundancy where we did not, and finds it right.
#[test]
fn the_kernel_takes_what_grew_without_moving() {
    let Some(kernel) = Kernel::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("g1", Level::Raid1, 0, 2, 0),
        ("g5", Level::Raid5, 2, 3, 64),
        ("g6", Level::Raid6, 2, 4, 64),
        ("g10", Level::Raid10, 0x102, 4, 64),
    ];
    let mut sets = Vec::new();
    for (number, case) in (20..).zip(cases) {
        let (name, _, _, members, _) = case;
        let (array, _) = ours(folder.path(), number, case, 0);
        let before = array.size_bytes();
        for name in names(name, members) {
            let file = fs::OpenOptions::new()
                .write(true)
                .open(folder.path().join(name))
                .unwrap();
            file.set_len(MEMBER_BYTES + 4 * MIB).unwrap();
        }
        let bytes = array.grow_members(None).unwrap();
        assert!(bytes > before, "{name}");
        let words: Vec<u8> = (before / 8..bytes / 8).flat_map(u64::to_le_bytes).collect();
        array.write_at(&words, before, true).unwrap();
        if name != "g5" {
            array.resync(&mut |_| ControlFlow::Continue(())).unwrap();
        }
        array.stop(Time::new(1_700_000_100, 0)).unwrap();
        sets.push(Set {
            name,
            members,
            bytes,
            bare: false,
            right: true,
        });
    }
    let (array, added) = ours(folder.path(), 30, ("c1", Level::Raid1, 0, 2, 0), 1);
    array.add(&added[0].image, added[0].uuid).unwrap();
    array.set_copies(3).unwrap();
    array.activate_spare().unwrap();
    array.rebuild(&mut |_| ControlFlow::Continue(())).unwrap();
    array.stop(Time::new(1_700_000_100, 0)).unwrap();
    sets.push(Set {
        name: "c1",
        members: 3,
        bytes: array.size_bytes(),
        bare: false,
        right: true,
    });
    drop(array);
    kernel_checks(&kernel, folder.path(), &sets);
}

//! Arrays on their way to another shape, between the engine and a real kernel's md.
//!
//! What the kernel left half-way is served byte for byte on both sides of its position and finished here; what we left
//! half-way the kernel finishes. Each 64-bit word of an array holds its number.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use headstack::raid::{
    Error, Slot,
    assemble::{Assembly, assemble},
    metadata::superblock::Version,
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
 b=f.read(1<<20)
 k=len(b)//8
 assert k
 w=struct.unpack("<%dQ"%k,b)
 assert w==tuple(range(at,at+k)),(at)
 at+=k
print("words right",n)' "$@"; }
attach() { loops=; for f in "$@"; do loops="$loops $(losetup -f --show ./$f)"; done; }
detach() { mdadm --stop /dev/md0; losetup -d $loops; }
pass() { n=0; while [ "$(cat $s/reshape_position)" != none ] && [ "$(cat $s/reshape_position)" -lt $1 ]; do
 sleep 0.05; n=$((n+1)); [ $n -lt 1000 ]; done; }
s=/sys/block/md0/md
stop() { echo clear >$s/array_state; while [ -e $s/array_state ] && [ "$(cat $s/array_state)" != clear ]; do sleep 0.05; done; }
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
    for (name, _, _, after, _, survivable) in cases {
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
    }
}

//! Linux's own NBD client, under User Mode Linux, on an array that the real binary serves.
//!
//! Guest and server meet in a network of their own, which nobody else sees; the server gets its socket handed over.

use std::{fs, path::Path, process::Command};

use super::{
    door::{HEADSTACK, Images},
    fixture::{contents, find, pattern, run},
};
use crate::peer::top;

/// Makes the network, listens, and runs server and guest: arguments are the binary, the place of the images, run.py and the
/// guest's script.
const HOST: &str = r#"
set -e
ip link set lo up
ip tuntap add dev tap0 mode tap
ip addr add 10.77.0.1/30 dev tap0
ip link set tap0 up
python3 -c '
import os, socket, sys
door = socket.create_server(("10.77.0.1", 10809))
os.dup2(door.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[1], [sys.argv[1], "nbd", sys.argv[2]])' "$1" "$2" &
trap 'kill $! 2>/dev/null || true; wait' EXIT
"$3" --tap tap0:10.77.0.2/30 --modules nbd --seconds 100 --work "$2" "$4"
# The server ends with its last client.
wait $!
trap - EXIT
"#;

const GUEST: &str = r#"
set -e
nbd-client 10.77.0.1 10809 /dev/nbd0 -name a -connections 2 -block-size 512 >/dev/null
blockdev --getsize64 /dev/nbd0
mkfs.ext4 -q /dev/nbd0
mkdir /run/fs
mount -o discard /dev/nbd0 /run/fs
cp source /run/fs/one
cp source /run/fs/two
sync
rm /run/fs/one
fstrim /run/fs
umount /run/fs
mount -o ro /dev/nbd0 /run/fs
cmp source /run/fs/two
umount /run/fs
e2fsck -fn /dev/nbd0 >/dev/null 2>&1
dd if=/dev/nbd0 of=all bs=1M 2>/dev/null
nbd-client -d /dev/nbd0 >/dev/null
echo all well
"#;

/// R27: the kernel's client mounts a file system on the array over two connections, writes, trims and unmounts it; what it
/// reads in the end are the bytes of the array, which was stopped cleanly.
#[test]
fn the_kernels_client_has_a_file_system_on_the_array() {
    for peer in ["linux.uml", "nbd-client", "mkfs.ext4", "ip", "unshare"] {
        if find(peer).is_none() {
            return;
        }
    }
    if !Path::new("/dev/net/tun").exists() {
        return crate::peer::skip("peer nbd of Linux under User Mode Linux (needs /dev/net/tun)");
    }
    let images = Images::new("5", 3, "24M");
    fs::write(images.at("source"), pattern(11, 3 << 20)).unwrap();
    fs::write(images.at("guest"), GUEST).unwrap();
    let mut host = Command::new("unshare");
    host.args([
        "--map-root-user",
        "--net",
        "bash",
        "-c",
        HOST,
        "host",
        HEADSTACK,
        images.place(),
    ])
    .arg(top().join("tools/peers/md/run.py"))
    .arg(images.at("guest"));
    let said = run(&mut host);
    let shown = images.shown();
    let size = shown["size_bytes"].as_u64().unwrap();
    assert_eq!(said, format!("{size}\nall well\n"));
    assert_eq!((&shown["state"], &shown["dirty"]), (&"Normal".into(), &false.into()));
    let mut read = find("nbdcopy").unwrap();
    let target = images.at("target");
    fs::write(&target, b"").unwrap();
    run(read
        .args(["--", "[", HEADSTACK, "nbd"])
        .args(images.words())
        .args(["]", &target]));
    assert!(
        contents(target.as_ref()) == contents(images.at("all").as_ref()),
        "other bytes"
    );
}

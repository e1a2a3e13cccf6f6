//! A guest of qemu whose disk is an array that the real binary serves: it boots from it, reads and writes it.
//!
//! The guest is a boot sector, made by hand below, so that neither a kernel nor hardware help is needed.

use std::fs;

use super::{
    door::{Door, Images, get, put},
    fixture::{find, pattern},
};

/// Copies 64 runs of 64 sectors from the start of the disk to 2 MiB behind it, by the BIOS, and ends the machine.
const BOOT: [&[u8]; 17] = [
    &[0x31, 0xc0],                   //  0       xor ax, ax
    &[0x8e, 0xd8, 0x8e, 0xc0],       //  2       mov ds, ax; mov es, ax
    &[0x8e, 0xd0, 0xbc, 0x00, 0x7c], //  6       mov ss, ax; mov sp, 7c00h
    &[0xbb, 0x40, 0x00],             // 11       mov bx, 64
    &[0xbe, 0x40, 0x7c],             // 14 next: mov si, packet
    &[0xb4, 0x42, 0xcd, 0x13],       // 17       mov ah, 42h; int 13h   (read)
    &[0x72, 0x19],                   // 21       jc fail
    &[0x81, 0x44, 0x08, 0x00, 0x10], // 23       add word [si+8], 4096
    &[0xb8, 0x00, 0x43, 0xcd, 0x13], // 28       mov ax, 4300h; int 13h (write)
    &[0x72, 0x0d],                   // 33       jc fail
    &[0x81, 0x6c, 0x08, 0xc0, 0x0f], // 35       sub word [si+8], 4096 - 64
    &[0x4b, 0x75, 0xe3],             // 40       dec bx; jnz next
    &[0xb0, 0x21, 0xe6, 0xf4, 0xf4], // 43       mov al, 21h; out f4h, al; hlt
    &[0xb0, 0x01, 0xe6, 0xf4, 0xf4], // 48 fail: mov al, 1; out f4h, al; hlt
    &[0; 0x40 - 53],
    &[0x10, 0x00, 0x40, 0x00, 0x00, 0x80, 0x00, 0x00], // packet: 64 sectors to or from 0000:8000
    &[0; 8],                                           //         first sector
];
/// What qemu ends with where the guest wrote 21h to its debug port: twice that, and one.
const WELL: i32 = 0x43;
const COPIED: usize = 2 << 20;

/// R04: a machine boots from the array, and the sectors that it copied through a virtio disk are there, with a member missing
/// as well.
#[test]
fn a_guest_boots_from_the_array_and_writes_to_it() {
    if find("qemu-system-x86_64").is_none() || find("nbdcopy").is_none() {
        return;
    }
    let images = Images::new("5", 3, "16M");
    for without in [0, 1] {
        let door = Door::open(&images.words()[without..], 1);
        let mut bytes = pattern(13 + without as u64, 2 * COPIED);
        let boot = BOOT.concat();
        bytes[..boot.len()].copy_from_slice(&boot);
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        let source = images.at("source");
        fs::write(&source, &bytes).unwrap();
        put(source.as_ref(), door.uri());
        let status = find("qemu-system-x86_64")
            .unwrap()
            .args([
                "-machine",
                "pc,accel=tcg",
                "-m",
                "16",
                "-nodefaults",
                "-display",
                "none",
                "-no-reboot",
            ])
            .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-drive"])
            .arg(format!("file={},format=raw,if=virtio,discard=unmap", door.uri()))
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(WELL), "without {without} members");
        bytes.copy_within(..COPIED, COPIED);
        let read = get(door.uri(), images.at("target").as_ref());
        assert!(read[..bytes.len()] == bytes, "without {without} members: other bytes");
        assert_eq!(door.stop(), 0);
    }
}

//! What real clients see and do: libnbd's tools, qemu's, fio.
//!
//! qemu 10 speaks extended headers, libnbd 1.14 structured replies, so both dialects have a peer here.

use std::{fs, process::Command};

use headstack::nbd::{Exports, Settings};
use serde_json::Value;

use super::fixture::{Served, array, contents, export, find, libnbd, pattern, run};

#[test]
fn nbdinfo_sees_name_size_and_every_feature() {
    let Some(mut nbdinfo) = find("nbdinfo") else { return };
    let served = Served::with(1 << 20, Settings::default(), |export| {
        export.with_description("four images")
    });
    let info: Value = serde_json::from_str(&run(nbdinfo.arg("--json").arg(served.uri()))).unwrap();
    assert_eq!(info["protocol"], "newstyle-fixed");
    assert_eq!(info["structured"], true);
    let export = &info["exports"][0];
    assert_eq!(export["export-name"], "disk");
    assert_eq!(export["description"], "four images");
    assert_eq!(export["export-size"], 1 << 20);
    assert_eq!(export["is_read_only"], false);
    for feature in ["cache", "df", "fast_zero", "flush", "fua", "multi_conn", "trim", "zero"] {
        assert_eq!(export[format!("can_{feature}")], true, "{feature}");
    }
    assert_eq!(export["block_size_minimum"], 1);
    assert_eq!(export["block_size_preferred"], 4096);
    assert_eq!(export["block_size_maximum"], 32 << 20);
    let contexts = ["base:allocation", "headstack:health", "headstack:stripe"];
    assert_eq!(export["contexts"], serde_json::json!(contexts));
}

#[test]
fn nbdinfo_lists_several_exports_with_descriptions() {
    let Some(mut nbdinfo) = find("nbdinfo") else { return };
    let directory = tempfile::tempdir().unwrap();
    let exports = Exports::default();
    for name in ["ä/b", "second"] {
        let image = directory.path().join(name.replace('/', "_"));
        exports.add(export(name, array(&image, 1 << 20)).with_description(&format!("array {name}")));
    }
    let served = Served::start(directory, exports, Settings::default());
    let list: Value = serde_json::from_str(&run(nbdinfo.args(["--list", "--json"]).arg(served.uri_of("")))).unwrap();
    let found: Vec<_> = list["exports"].as_array().unwrap().iter().collect();
    let names: Vec<_> = found
        .iter()
        .map(|export| export["export-name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["second", "ä/b"]);
    assert_eq!(found[1]["description"], "array ä/b");
}

#[test]
fn nbdinfo_answers_each_can_by_its_exit_code() {
    if find("nbdinfo").is_none() {
        return;
    }
    let can = |served: &Served, what: &str| {
        let mut nbdinfo = Command::new("nbdinfo");
        nbdinfo
            .args(["--can", what])
            .arg(served.uri())
            .status()
            .unwrap()
            .success()
    };
    let writable = Served::new(1 << 20);
    let frozen = Served::with(1 << 20, Settings::default(), |export| export.with_read_only(true));
    for what in ["write", "trim", "zero", "fast-zero", "fua"] {
        assert!(can(&writable, what), "{what}");
        assert!(!can(&frozen, what), "{what}");
    }
    for what in [
        "connect",
        "read",
        "flush",
        "cache",
        "multi-conn",
        "df",
        "structured-reply",
    ] {
        assert!(can(&writable, what), "{what}");
        assert!(can(&frozen, what), "{what}");
    }
}

#[test]
fn nbdinfo_maps_holes_and_data() {
    let Some(mut nbdinfo) = find("nbdinfo") else { return };
    let served = Served::new(1 << 20);
    let file = fs::File::options().write(true).open(served.image()).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[7; 65536], served.data_offset() + 131_072).unwrap();
    let map: Value = serde_json::from_str(&run(nbdinfo.args(["--map", "--json"]).arg(served.uri()))).unwrap();
    let found: Vec<_> = map.as_array().unwrap().iter().collect();
    let extents: Vec<_> = found
        .iter()
        .map(|extent| {
            let number = |name: &str| extent[name].as_u64().unwrap();
            (number("offset"), number("length"), number("type"))
        })
        .collect();
    assert_eq!(extents, [(0, 131_072, 3), (131_072, 65536, 0), (196_608, 851_968, 3)]);
}

#[test]
fn nbdcopy_writes_and_reads_over_four_connections() {
    let Some(mut write) = find("nbdcopy") else { return };
    let served = Served::new(24 << 20);
    let source = served.directory.path().join("source");
    let bytes = pattern(1, 24 << 20);
    fs::write(&source, &bytes).unwrap();
    run(write
        .args(["--connections=4", "--flush"])
        .arg(&source)
        .arg(served.uri()));
    assert!(served.contents() == bytes, "what was written is not what stands there");
    let target = served.directory.path().join("target");
    fs::File::create(&target).unwrap().set_len(24 << 20).unwrap();
    let mut read = find("nbdcopy").unwrap();
    run(read.arg("--connections=4").arg(served.uri()).arg(&target));
    assert!(contents(&target) == bytes, "what was read is not what stands there");
}

#[test]
fn qemu_converts_and_compares() {
    let Some(mut convert) = find("qemu-img") else { return };
    let served = Served::new(8 << 20);
    let source = served.directory.path().join("source");
    let mut bytes = pattern(2, 8 << 20);
    bytes[1 << 20..3 << 20].fill(0);
    fs::write(&source, &bytes).unwrap();
    run(convert
        .args(["convert", "-n", "-f", "raw", "-O", "raw"])
        .arg(&source)
        .arg(served.uri()));
    assert!(served.contents() == bytes);
    let mut compare = find("qemu-img").unwrap();
    let said = run(compare
        .args(["compare", "-f", "raw", "-F", "raw"])
        .arg(&source)
        .arg(served.uri()));
    assert!(said.contains("identical"), "{said}");
}

#[test]
fn qemu_writes_trims_zeroes_and_flushes() {
    let Some(mut qemu_io) = find("qemu-io") else { return };
    let served = Served::new(8 << 20);
    let commands = [
        "write -P 7 0 64k",
        "write -f -P 8 65537 513",
        "aio_write -P 9 1M 3M",
        "aio_flush",
        "discard 1M 1M",
        "write -z 2M 512k",
        "write -z -u 2560k 512k",
        "flush",
        "read -P 7 0 64k",
        "read -P 8 65537 513",
        "read -P 0 2M 1M",
        "read -P 9 3M 1M",
    ];
    qemu_io.args(["-f", "raw"]);
    for command in commands {
        qemu_io.args(["-c", command]);
    }
    let said = run(qemu_io.arg(served.uri()));
    assert!(!said.contains("failed"), "{said}");
    let image = served.contents();
    assert!(image[..65536].iter().all(|&byte| byte == 7));
    assert_eq!(image[65536..65538], [0, 8]);
    assert_eq!(image[66049..66051], [8, 0]);
    assert!(image[2 << 20..3 << 20].iter().all(|&byte| byte == 0));
    assert!(image[3 << 20..4 << 20].iter().all(|&byte| byte == 9));
}

#[test]
fn fio_verifies_what_it_wrote_at_depth() {
    let Some(mut fio) = find("fio") else { return };
    let served = Served::new(16 << 20);
    let said = run(fio
        .args([
            "--name=verify",
            "--ioengine=nbd",
            "--rw=randrw",
            "--bsrange=512-128k",
            "--size=16M",
        ])
        .args([
            "--iodepth=16",
            "--verify=crc32c",
            "--verify_fatal=1",
            "--verify_state_save=0",
            "--fsync=32",
            "--thread",
        ])
        .arg(format!("--uri={}", served.uri())));
    assert!(said.contains("err= 0"), "{said}");
}

#[test]
fn libnbd_reads_unfragmented_caches_and_asks_for_health() {
    let script = "
h.add_meta_context('headstack:health')
h.add_meta_context('base:allocation')
h.connect_uri(sys.argv[1])
h.pwrite(b'x' * 4096, 4096, nbd.CMD_FLAG_FUA)
assert h.pread(4096, 4096) == b'x' * 4096
chunks = []
buf = h.pread_structured(8192, 0, lambda data, offset, status, error: chunks.append((offset, len(data), status)), nbd.CMD_FLAG_DF)
assert chunks == [(0, 8192, nbd.READ_DATA)], chunks
h.cache(8192, 0)
h.flush()
found = {}
h.block_status(1 << 20, 0, lambda context, offset, extents, error: found.__setitem__(context, extents))
assert found['headstack:health'] == [1 << 20, 0], found
assert found['base:allocation'] == [4096, 3, 4096, 0, (1 << 20) - 8192, 3], found
found.clear()
h.block_status(1 << 20, 0, lambda context, offset, extents, error: found.__setitem__(context, extents), nbd.CMD_FLAG_REQ_ONE)
assert found['base:allocation'] == [4096, 3], found
h.zero(4096, 4096, nbd.CMD_FLAG_NO_HOLE)
assert h.pread(4096, 4096) == bytes(4096)
h.zero(1 << 20, 0, nbd.CMD_FLAG_FAST_ZERO)
h.shutdown()
";
    let Some(mut python) = libnbd(script) else { return };
    let served = Served::new(1 << 20);
    run(python.arg(served.uri()));
    served.wait_until_empty();
}

#[test]
fn libnbd_is_told_the_right_error_of_each_mistake() {
    let script = "
import errno
h.set_strict_mode(0)
h.connect_uri(sys.argv[1])
def fails(number, call, *arguments):
    try:
        call(*arguments)
    except nbd.Error as error:
        assert error.errnum == number, (call, arguments, error.errnum)
        return
    raise AssertionError((call, arguments))
size = h.get_size()
fails(errno.EINVAL, h.pread, 512, size)
fails(errno.ENOSPC, h.pwrite, b'x' * 512, size - 511)
fails(errno.EINVAL, h.trim, 512, size)
fails(errno.ENOSPC, h.zero, 512, size)
fails(errno.EINVAL, h.block_status, 512, 0, lambda *_: 0)
fails(errno.EINVAL, h.flush, nbd.CMD_FLAG_DF)
assert h.pread(512, 0) == bytes(512)
h.shutdown()
";
    let Some(mut python) = libnbd(script) else { return };
    let served = Served::new(1 << 20);
    run(python.arg(served.uri()));
}

#[test]
fn a_flush_on_one_connection_covers_the_writes_of_another() {
    let script = "
g = nbd.NBD()
h.connect_uri(sys.argv[1])
g.connect_uri(sys.argv[1])
assert h.can_multi_conn()
h.pwrite(b'y' * 4096, 0)
g.flush()
assert g.pread(4096, 0) == b'y' * 4096
h.shutdown()
g.shutdown()
";
    let Some(mut python) = libnbd(script) else { return };
    let served = Served::new(1 << 20);
    run(python.arg(served.uri()));
}

use headstack::{
    nbd::{Export, Exports, Listener, Server, Settings},
    raid::{
        Level,
        assemble::Image,
        create::{Initialisation, NewImage, Wish, create},
        metadata::identity::{Time, Uuid},
    },
    storage::HostDirectory,
};
use std::{io::Read, path::Path, sync::Arc, time::Duration};
fn main() {
    let a: Vec<String> = std::env::args().skip(1).collect();
    let (socket, dir, level, n) = (&a[0], Path::new(&a[1]), &a[2], a[3].parse::<usize>().unwrap());
    let (level, layout) = match level.as_str() {
        "0" => (Level::Raid0, 0),
        "5" => (Level::Raid5, 2),
        "6" => (Level::Raid6, 2),
        "1" => (Level::Raid1, 0),
        "lin" => (Level::Linear, 0),
        _ => (Level::Raid10, 0x102),
    };
    let directory = Arc::new(HostDirectory::open(dir).unwrap());
    let images: Vec<_> = (0..n)
        .map(|i| {
            let name = format!("{i}.img");
            std::fs::File::create(dir.join(&name))
                .unwrap()
                .set_len(512 << 20)
                .unwrap();
            Some(NewImage {
                image: Image {
                    directory: directory.clone(),
                    name: name.into(),
                },
                uuid: Uuid([i as u8 + 1; 16]),
            })
        })
        .collect();
    let wish = Wish {
        name: "b".into(),
        uuid: Uuid([99; 16]),
        created: Time::new(1_700_000_000, 0),
        level,
        layout,
        chunk_bytes: 512 << 10,
        initialisation: Initialisation::Foreground,
        member_bytes: None,
        bitmap_chunk_bytes: Some(0),
        overwrite: true,
    };
    let array = Arc::new(create(&wish, &images, &[]).unwrap());
    let b = vec![7u8; 1 << 20];
    let mut at = 0;
    while at + (1 << 20) <= array.size_bytes() {
        array.write_at(&b, at, false).unwrap();
        at += 1 << 20;
    }
    let exports = Exports::default();
    exports.add(Export::new("", array).unwrap());
    let server = Server::start(
        exports,
        Settings::default(),
        vec![Listener::unix(Path::new(socket)).unwrap()],
    )
    .unwrap();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    server.stop(Duration::from_secs(5));
}

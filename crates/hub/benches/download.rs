//! A large file over loopback: this crate, hash included, beside `curl` from the same server in the same run.
//!
//! `cargo bench -p hub --bench download`. The server sends from the page cache by `sendfile`; both clients write to
//! the same disk. One warm-up each, then the rounds alternate and the median counts. Needs `curl` on the path.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that cannot go on fails, and prints")]

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use hub::{AcquireOptions, Client, Config, Source};
use sha2::{Digest, Sha256};

const SIZE: usize = 512 << 20;
const ROUNDS: usize = 7;
const COMMIT: &str = "1234567890abcdef1234567890abcdef12345678";

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let served = folder.path().join("served");
    let sha256 = write_noise(&served);
    let url = serve(&served, &sha256);
    let file = format!("{url}/a/b/resolve/{COMMIT}/model.safetensors");
    let source: Source = Source::resolve("a/b", &url.parse().unwrap()).unwrap();

    let by_curl = || {
        let to = folder.path().join("curl");
        let begun = Instant::now();
        assert!(
            Command::new("curl").args(["-s", "-f", "-o"]).arg(&to).arg(&file).status().unwrap().success()
        );
        let passed = begun.elapsed();
        assert_eq!(std::fs::metadata(&to).unwrap().len(), SIZE as u64);
        std::fs::remove_file(&to).unwrap();
        passed
    };
    let by_hub = || {
        let home = folder.path().join("home");
        let variables = [("HF_ENDPOINT", url.clone()), ("HF_HOME", home.to_str().unwrap().to_owned())];
        let config = Config::from_lookup(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone())
        });
        let client = Client::new(config.unwrap()).unwrap();
        let begun = Instant::now();
        let acquired = hub::acquire(&source, &client, &AcquireOptions::default(), &mut |_| ()).unwrap();
        let passed = begun.elapsed();
        assert_eq!(acquired.files[0].sha256, sha256);
        std::fs::remove_dir_all(&home).unwrap();
        passed
    };

    let (mut curl, mut ours) = (Vec::new(), Vec::new());
    let (mut curl_cpu, mut ours_cpu) = (0.0, 0.0);
    for round in 0..=ROUNDS {
        let before = cpu_seconds();
        let a = by_curl().as_secs_f64();
        let between = cpu_seconds();
        let b = by_hub().as_secs_f64();
        let after = cpu_seconds();
        if round > 0 {
            curl.push(SIZE as f64 / a / 1e6);
            ours.push(SIZE as f64 / b / 1e6);
            // The server runs in this process: its share is what this process used while curl was downloading.
            let server = between.0 - before.0;
            curl_cpu += (between.1 - before.1) / ROUNDS as f64;
            ours_cpu += (after.0 - between.0 - server) / ROUNDS as f64;
        }
    }
    let best = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    let (best_curl, best_ours) = (best(&curl), best(&ours));
    let (curl, ours) = (median(&mut curl), median(&mut ours));
    println!("{} MiB over loopback, {ROUNDS} rounds        median      best", SIZE >> 20);
    println!("curl, no hash           {curl:13.0} {best_curl:9.0} MB/s");
    println!("hub, sha256 checked     {ours:13.0} {best_ours:9.0} MB/s");
    println!("ratio                   {:13.2} {:9.2}", ours / curl, best_ours / best_curl);
    println!("processor time  {curl_cpu:.2} s (curl)  {ours_cpu:.2} s (hub)");
}

/// Processor seconds of this process and of its ended children, from `/proc` (Linux, ticks of 10 ms).
fn cpu_seconds() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse().ok())
        .collect();
    match fields.as_slice() {
        [user, system, child_user, child_system] => {
            ((user + system) / 100.0, (child_user + child_system) / 100.0)
        }
        _ => (0.0, 0.0),
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn write_noise(path: &Path) -> String {
    let mut state = 1u64;
    let mut hash = Sha256::new();
    let mut file = File::create(path).unwrap();
    let mut block = vec![0u8; 1 << 20];
    for _ in 0..SIZE >> 20 {
        for word in block.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        hash.update(&block);
        file.write_all(&block).unwrap();
    }
    hash.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// From the page cache to the socket without a copy through this process, so that the server costs the clients little.
fn send_file(file: &File, stream: &TcpStream) -> std::io::Result<()> {
    let mut sent = 0;
    while sent < SIZE as u64 {
        let left = SIZE - usize::try_from(sent).map_err(std::io::Error::other)?;
        rustix::fs::sendfile(stream, file, Some(&mut sent), left)?;
    }
    Ok(())
}

/// A hub with one repository of one file; the content goes out by `sendfile`.
fn serve(path: &Path, sha256: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (path, sha256) = (path.to_owned(), sha256.to_owned());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (path, sha256) = (path.clone(), sha256.clone());
            // A client that goes away ends its thread.
            std::thread::spawn(move || drop(answer(stream, &path, &sha256)));
        }
    });
    url
}

fn answer(mut stream: TcpStream, path: &Path, sha256: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut line = String::new();
        while reader.read_line(&mut line)? > 2 {
            line.clear();
        }
        let json = if request.contains("/revision/") {
            format!("{{\"id\":\"a/b\",\"sha\":\"{COMMIT}\"}}")
        } else if request.contains("/tree/") {
            format!(
                "[{{\"type\":\"file\",\"path\":\"model.safetensors\",\"size\":{SIZE},\"oid\":\"{COMMIT}\",\
                 \"lfs\":{{\"oid\":\"{sha256}\",\"size\":{SIZE}}}}}]"
            )
        } else {
            stream.write_all(
                format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\nAccept-Ranges: bytes\r\n\r\n")
                    .as_bytes(),
            )?;
            send_file(&File::open(path)?, &stream)?;
            continue;
        };
        stream.write_all(
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{json}", json.len()).as_bytes(),
        )?;
    }
}

//! Tests that the AMX kernels get correct tiles even if the compiler's own intrinsics are wrong.
//!
//! The probe is compiled like llama.cpp, with AMX enabled. In its assembly the two AMX instructions that read memory
//! are replaced by copies of what they would read, so that it runs on any x86-64 processor.
#![cfg(target_arch = "x86_64")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder in which the binding compiled llama.cpp; set by this crate's build script.
const BUILD: &str = env!("HEDGEROW_LLAMA_BUILD");
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/amx");

/// The bytes that `configure` in `probe.cpp` writes: palette 1, then bytes per row and rows of eight tiles.
fn configuration() -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[0] = 1;
    for tile in 0..8 {
        bytes[16 + 2 * tile] = 16 + 4 * tile as u8;
        bytes[48 + tile] = 8 + tile as u8;
    }
    bytes
}

/// The first row that `load(3)` writes.
fn first_row() -> Vec<u8> {
    (3..67).collect()
}

#[test]
fn amx_instructions_read_everything_written_for_them() {
    let seen = run_probe("with", &compiler_and_flags());
    assert_eq!(seen, [configuration(), first_row()]);
}

#[test]
fn the_probe_detects_a_compiler_that_drops_writes_for_amx_instructions() {
    let (compiler, mut flags) = compiler_and_flags();
    let version = Command::new(&compiler).arg("--version").output().unwrap();
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let header = flags.iter().position(|flag| flag == "-include");
    let Some(header) = header.filter(|_| version.contains(" 12.2.")) else {
        println!("skipped: only GCC 12.2 is known to have wrong intrinsics, and this is {version}");
        return;
    };
    flags.drain(header..header + 2);
    let seen = run_probe("without", &(compiler, flags));
    assert_ne!(seen[0], configuration(), "GCC 12's own intrinsics are wrong");
}

/// The compiler and the flags of llama.cpp's AMX kernels from CMake's compilation database, without input and output.
fn compiler_and_flags() -> (PathBuf, Vec<String>) {
    let record = Path::new(BUILD).join("compile_commands.json");
    let text = fs::read_to_string(&record).unwrap_or_else(|error| panic!("{}: {error}", record.display()));
    // One string per line with escaped quotes, so no JSON library is needed.
    let command = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("\"command\": \""))
        .find(|line| line.contains("ggml-cpu/amx/mmq.cpp"))
        .expect("llama.cpp's AMX kernels were compiled");
    let command = command.trim_end_matches(',').trim_end_matches('"').replace("\\\"", "").replace('"', "");
    let mut words = command.split_whitespace();
    let compiler = PathBuf::from(words.next().expect("a command begins with its program"));
    let mut flags = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "-o" | "-c" => drop(words.next()),
            _ => flags.push(word.to_owned()),
        }
    }
    (compiler, flags)
}

/// Runs the probe and returns what its AMX instructions read.
fn run_probe(name: &str, (compiler, flags): &(PathBuf, Vec<String>)) -> Vec<Vec<u8>> {
    let folder = std::env::temp_dir().join(format!("hedgerow-amx-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (assembly, program) = (folder.join("probe.s"), folder.join("probe"));
    let run = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    // Only baseline x86-64 instructions besides AMX, because the probe itself must run here.
    let portable = flags.iter().filter(|flag| !flag.starts_with("-march=") && !flag.starts_with("-mtune="));
    run(Command::new(compiler)
        .args(portable)
        .args(["-mamx-tile", "-S", "-o"])
        .arg(&assembly)
        .arg(Path::new(FOLDER).join("probe.cpp")));
    let text = fs::read_to_string(&assembly).unwrap();
    fs::write(&assembly, copy_instead(&text)).unwrap();
    run(Command::new(compiler)
        .arg("-o")
        .arg(&program)
        .arg(&assembly)
        .arg(Path::new(FOLDER).join("main.cpp")));
    let printed = run(&mut Command::new(&program));
    fs::remove_dir_all(&folder).unwrap();
    printed.lines().map(bytes).collect()
}

/// Replaces each AMX instruction that reads memory by a copy of 64 bytes.
fn copy_instead(assembly: &str) -> String {
    let mut text = String::new();
    let mut copies = 0;
    for line in assembly.lines() {
        let (from, to) = match line.trim().split_once(char::is_whitespace) {
            Some(("ldtilecfg", operand)) => (operand.trim().to_owned(), "seen_config"),
            Some(("tileloadd", operands)) => {
                // `(base,stride,1), %tmm0`: the first row is at the base.
                let base = operands.trim_start_matches('(').split(',').next().unwrap();
                (format!("({base})"), "seen_tile")
            }
            _ => {
                text.push_str(line);
                text.push('\n');
                continue;
            }
        };
        copies += 1;
        let (offset, registers) = from.split_at(from.find('(').unwrap());
        let offset: i64 = if offset.is_empty() { 0 } else { offset.parse().unwrap() };
        for part in [0, 16, 32, 48] {
            // The small probe does not use this register.
            text.push_str(&format!("\tmovups\t{}{registers}, %xmm15\n", offset + part));
            text.push_str(&format!("\tmovups\t%xmm15, {part}+{to}(%rip)\n"));
        }
    }
    assert_eq!(copies, 2, "the probe has one instruction of each kind:\n{assembly}");
    text
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let pairs = hexadecimal.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

//! The AMX kernels get the tiles they were written for, whatever the compiler's own intrinsics say.
//!
//! The probe is compiled as llama.cpp was, with AMX switched on. In its assembly the two AMX instructions
//! that read memory are replaced by copies of what they would read, so that it runs on any x86-64 processor.
#![cfg(target_arch = "x86_64")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the binding compiled llama.cpp; set by this crate's build script.
const BUILD: &str = env!("HEDGEROW_LLAMA_BUILD");
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/amx");

/// What `configure` in `probe.cpp` writes: palette 1, then bytes per row and rows of eight tiles.
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
fn amx_instructions_read_all_that_was_written_for_them() {
    let seen = run_probe("with", &compiler_and_flags());
    assert_eq!(seen, [configuration(), first_row()]);
}

#[test]
fn the_probe_sees_a_compiler_that_drops_what_amx_instructions_read() {
    let (compiler, mut flags) = compiler_and_flags();
    let version = Command::new(&compiler).arg("--version").output().unwrap();
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let header = flags.iter().position(|flag| flag == "-include");
    let Some(header) = header.filter(|_| version.contains(" 12.2.")) else {
        println!(
            "skipped: only of GCC 12.2 is it known that its own intrinsics are wrong, and this is {version}"
        );
        return;
    };
    flags.drain(header..header + 2);
    let seen = run_probe("without", &(compiler, flags));
    assert_ne!(seen[0], configuration(), "what GCC 12 makes of its own intrinsics");
}

/// The compiler and the flags that llama.cpp's AMX kernels were compiled with, where they were, by CMake's own
/// record; without input and output.
fn compiler_and_flags() -> (PathBuf, Vec<String>) {
    let record = Path::new(BUILD).join("compile_commands.json");
    let text = fs::read_to_string(&record).unwrap_or_else(|error| panic!("{}: {error}", record.display()));
    // One string a line, with its quotes escaped: no JSON library is needed to take it apart.
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

/// What the probe's AMX instructions read.
fn run_probe(name: &str, (compiler, flags): &(PathBuf, Vec<String>)) -> Vec<Vec<u8>> {
    let folder = std::env::temp_dir().join(format!("hedgerow-amx-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (assembly, program) = (folder.join("probe.s"), folder.join("probe"));
    let run = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    // Nothing but AMX beyond what every x86-64 processor has: the probe itself must run here.
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

/// The assembly with a copy of 64 bytes in place of each AMX instruction that reads memory.
fn copy_instead(assembly: &str) -> String {
    let mut text = String::new();
    let mut copies = 0;
    for line in assembly.lines() {
        let (from, to) = match line.trim().split_once(char::is_whitespace) {
            Some(("ldtilecfg", operand)) => (operand.trim().to_owned(), "seen_config"),
            Some(("tileloadd", operands)) => {
                // `(base,stride,1), %tmm0`: the first row lies at the base.
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
            // A register that so small a probe leaves alone.
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

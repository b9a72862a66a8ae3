//! Compares the instruction sets that kernels were compiled for with those that the CPU has.

use super::subject::Cpu;

/// Describes what the kernels were compiled with: as the child reported, or else as this program was compiled.
pub(super) fn compiled_with(sets: &[String]) -> String {
    let compiled = hedgerow_llama::compiled_instruction_sets();
    let sets: Vec<&str> = if sets.is_empty() { compiled } else { sets.iter().map(String::as_str).collect() };
    match sets.as_slice() {
        [] => "compiled for instruction sets that are not known".to_owned(),
        sets => format!("compiled with {}", sets.join(", ")),
    }
}

/// Describes what the kernels were compiled with, and which of those instruction sets the CPU lacks.
pub(super) fn instructions(sets: &[String], cpu: &Cpu) -> String {
    let compiled = compiled_with(sets);
    let missing = lacking(&compiled, &cpu.flags);
    if missing.is_empty() {
        format!("{compiled}; this CPU, {}, has them", cpu.name)
    } else {
        format!("{compiled}; this CPU, {}, lacks {}", cpu.name, missing.join(", "))
    }
}

/// Returns the instruction sets of a list that are missing from a CPU's flags.
pub(crate) fn lacking(compiled: &str, flags: &str) -> Vec<&'static str> {
    // llama.cpp's name and Linux's name of each.
    const NAMES: [(&str, &str); 18] = [
        ("SSE3", "pni"),
        ("SSSE3", "ssse3"),
        ("AVX", "avx"),
        ("AVX_VNNI", "avx_vnni"),
        ("AVX2", "avx2"),
        ("F16C", "f16c"),
        ("FMA", "fma"),
        ("BMI2", "bmi2"),
        ("AVX512", "avx512f"),
        ("AVX512_VBMI", "avx512vbmi"),
        ("AVX512_VNNI", "avx512_vnni"),
        ("AVX512_BF16", "avx512_bf16"),
        ("AMX_INT8", "amx_int8"),
        ("FP16_VA", "asimdhp"),
        ("MATMUL_INT8", "i8mm"),
        ("SVE", "sve"),
        ("DOTPROD", "asimddp"),
        ("SME", "sme"),
    ];
    let has = |text: &str, word: &str| text.split([' ', ',', ';']).any(|found| found == word);
    let lacks = |&&(name, flag): &&(&str, &str)| has(compiled, name) && !has(flags, flag);
    if flags.is_empty() {
        return Vec::new();
    }
    NAMES.iter().filter(lacks).map(|&(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(flags: &str) -> Cpu {
        Cpu { name: "Test CPU".into(), flags: flags.into() }
    }

    #[test]
    fn what_a_cpu_lacks_is_named() {
        let sets = ["AVX512", "AVX512_BF16", "AMX_INT8", "REPACK"].map(String::from);
        assert_eq!(
            instructions(&sets, &cpu("fpu avx512f amx_tile")),
            "compiled with AVX512, AVX512_BF16, AMX_INT8, REPACK; this CPU, Test CPU, lacks AVX512_BF16, AMX_INT8"
        );
        let all = instructions(&sets, &cpu("avx512f avx512_bf16 amx_int8"));
        assert!(all.ends_with("this CPU, Test CPU, has them"), "{all}");
    }

    #[test]
    fn a_cpu_that_says_nothing_is_not_said_to_lack_anything() {
        assert!(!instructions(&["AVX".to_owned()], &cpu("")).contains("lacks"));
    }

    #[test]
    fn only_known_sets_are_judged_and_only_where_the_system_names_any() {
        assert_eq!(
            lacking("SSE3 AVX512 AMX_INT8 AVX512_VNNI", "pni avx avx2 avx512f"),
            ["AVX512_VNNI", "AMX_INT8"]
        );
        assert!(lacking("SSE3 AVX2 NEON", "pni avx avx2 avx512f").is_empty());
        assert!(lacking("AMX_INT8", "").is_empty(), "a system that says nothing");
    }

    #[test]
    fn a_flag_counts_only_as_a_whole_word() {
        assert_eq!(lacking("compiled with AVX, AVX2", "avx512f avx2"), ["AVX"]);
    }
}

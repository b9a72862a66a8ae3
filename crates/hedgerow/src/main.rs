//! The program `hedgerow`.

fn main() -> ! {
    let code = hedgerow::main();
    // A thread may still be loading or measuring a model, and C++'s exit handlers would free what it uses.
    hedgerow_llama::exit_without_handlers(code)
}

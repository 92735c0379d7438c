//! `e2e`: the end-to-end comparison of [`outrigger_benches::e2e`]. Started by `benches/run`, which does the set-up.

fn main() -> anyhow::Result<std::process::ExitCode> {
    outrigger_benches::e2e::main()
}

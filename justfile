# The commands of everyday work. `just` lists them; https://just.systems

# List the commands.
default:
    @just --list

# A whole mesh on this machine, live.
demo *ARGS:
    cargo run --release --locked -p outrigger -- demo {{ARGS}}

# All tests, with what they need installed where that is possible.
test *ARGS:
    ./test {{ARGS}}

# What must be clean before a change is handed in.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Every example policy, alone and together.
check-examples:
    .ci/examples

# Write the generated pages of docs/reference/ again.
reference:
    UPDATE_REFERENCE=1 cargo test -p outrigger --bin outrigger reference

# Licences, bans, advisories (needs cargo-deny).
deny:
    cargo deny --all-features check

# The binary that is shipped and measured.
dist:
    cargo build --profile dist --locked -p outrigger

# All that CI does.
ci:
    .ci/run

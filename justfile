# `just` lists these; every recipe is one command that can be typed without just.

# What CI checks before the tests.
check:
    cargo fmt --all -- --check
    cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
    RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --locked --workspace --no-deps --document-private-items

# Everything, with what it needs installed; arguments go to `cargo test`.
test *ARGS:
    tests/run {{ARGS}}

# A dev broker on 127.0.0.1:9092.
run *ARGS:
    cargo run --release -- {{ARGS}}

# Load against a broker that runs already: `just bench produce --size 100`.
bench *ARGS:
    cargo run --release -p esker-bench -- {{ARGS}}

# The pieces of the hot path, timed by criterion: `just micro --bench log -- append`.
micro *ARGS:
    cargo bench -p esker-bench {{ARGS}}

# A promise, proved or not: `just trial isolation`, `just trial cold`, `just trial faults`.
trial *ARGS:
    cargo build --release -p esker-broker -p esker-bench && target/release/esker-bench {{ARGS}}

# Esker beside Apache Kafka, every goal in one table; at most 30 minutes. Needs Java 17 and Maven.
versus:
    cargo build --release -p esker-broker -p esker-bench && target/release/esker-bench versus --markdown bench/RESULTS.md --json target/versus.json --html target/versus.html

# Every client through every feature, with what it needs installed: writes tests/clients/REPORT.md.
matrix *ARGS:
    tests/clients/run {{ARGS}}

# Apache Kafka for `just matrix --peer HOST:PORT`: no topic makes itself, and history leaves for the tier soon.
neighbour *ARGS:
    cargo run --release -p esker-bench -- neighbour --tiered --set auto.create.topics.enable=false \
        --set log.retention.check.interval.ms=500 {{ARGS}}

# The simulation on N seeds, or on one: `just sim 1000`, `ESKER_SIM_SEED=7 just sim`.
sim N="100":
    ESKER_SIM_SEEDS={{N}} cargo test --profile sim -p esker-tests --test simulation -- --nocapture --skip mutation_

# Fuzzes one target, as long as told (`-max_total_time=60`); their names are those of the binaries in tests/fuzz.
fuzz TARGET *ARGS:
    mkdir -p target/fuzz-seeds/{{TARGET}} tests/fuzz/corpus/{{TARGET}}
    ESKER_FUZZ_SEEDS=$PWD/target/fuzz-seeds/{{TARGET}} cargo +nightly fuzz run --fuzz-dir tests/fuzz --sanitizer none {{TARGET}} \
        tests/fuzz/corpus/{{TARGET}} target/fuzz-seeds/{{TARGET}} -- -max_len=16384 {{ARGS}}

# What may be in the dependency tree: licences, advisories, sources.
deny:
    cargo deny check

# Storage's env layer, with its `unsafe`, against a standard library that checks itself: `cargo install cargo-careful`, nightly.
careful:
    cargo +nightly careful test --locked -p esker-storage --lib env::

# The one file with `unsafe`, under valgrind.
memcheck:
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="valgrind --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite" \
        cargo test -p esker-storage --lib env::real_map

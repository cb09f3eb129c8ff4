#!/usr/bin/env bash
# Passes all tests on a fresh Debian machine with Rust. Installs what they need where it is missing, and says so.
#
#   tests/all.sh            SIM_SEEDS, CORE_SEEDS, REDB_CUTS, REDIS_DAMAGES, REDIS_CUTS, NEMESIS_SECONDS, PLANTED_SEEDS,
#                           ASLEEP_SEEDS: sizes of the campaigns; PLANTED=0 leaves the planted bugs out; MODEL_SIZE=large and
#                           PROPTEST_CASES: more states, more cases
set -euo pipefail
cd "$(dirname "$0")/.."

# need COMMAND PACKAGE: the command, from that Debian package where it is missing.
need() {
    command -v "$1" > /dev/null && return
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then
        echo "tests: $1 is missing. Install it (Debian: sudo apt-get install $2) and run this again." >&2
        exit 2
    fi
    echo "tests: installing $2, because $1 is missing"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$2" > /dev/null
}

command -v cargo > /dev/null || { echo "tests: Rust is missing. Install it from https://rustup.rs and run this again." >&2; exit 2; }
need cc gcc
need patch patch
# For a node that is out of files.
need prlimit util-linux
# Debian starts a service on port 6379 along with it. No test uses that one: each starts a server of its own, elsewhere.
need redis-server redis-server
# Makes the certificates of the tests of TLS.
need openssl openssl

echo "tests: units, actors, stores, sockets, clients, processes, example and simulation"
echo "tests: then the core in every order of events within bounds, and properties of codecs, hashes, ledger and reconciliation"
# Both packages at once: each alone would have the library built with other features of what it depends on. The campaign
# takes some minutes of it; whoever asks cargo alone gets a few seconds. Cargo builds the examples before it runs a test.
SIM_SEEDS=${SIM_SEEDS:-1000} EXAMPLES_ARE_BUILT=1 cargo test --locked -p paxos-banking -p paxos-banking-proofs
if [ "${PLANTED:-1}" != 0 ]; then
    echo "tests: does the simulation notice? Planting known bugs in a copy of the tree"
    tests/planted/run
fi
echo "tests: all passed"

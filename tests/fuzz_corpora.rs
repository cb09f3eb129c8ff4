//! The corpora of the fuzz targets, without a fuzzer: each input, each of its beginnings, and each with one byte changed.
//! `cargo +nightly fuzz run TARGET` (in `fuzz`) looks for more.
#![allow(clippy::unwrap_used)]

use std::path::Path;

#[path = "../fuzz/targets.rs"]
mod targets;

#[test]
fn what_strangers_send_is_taken_in_as_it_is_or_refused() {
    for (name, target) in targets::ALL {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let mut inputs = 0;
        for file in std::fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display())) {
            let input = std::fs::read(file.unwrap().path()).unwrap();
            target(&input);
            (0..input.len()).for_each(|length| target(&input[..length]));
            for index in 0..input.len() {
                let mut changed = input.clone();
                for change in [1, 0x80, 0xff] {
                    changed[index] = input[index] ^ change;
                    target(&changed);
                }
            }
            inputs += 1;
        }
        assert!(inputs > 0, "the corpus of {name} is empty");
    }
}

//! The examples in `docs/wire.md`: in blocks of the language `hex`, `name:` begins one, and `#` a remark.

use std::collections::BTreeMap;

const DOCUMENT: &str = include_str!("../../docs/wire.md");
const LIMITS: &str = include_str!("../../docs/limits.md");

/// The bytes of each example, by its name.
pub fn examples() -> BTreeMap<String, Vec<u8>> {
    let mut examples: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut in_block = false;
    let mut current = None;
    for line in DOCUMENT.lines() {
        if line.starts_with("```") {
            (in_block, current) = (line == "```hex", None);
            continue;
        }
        let bytes = line.split_once('#').map_or(line, |(bytes, _)| bytes);
        if !in_block || bytes.trim().is_empty() {
            continue;
        }
        let bytes = match bytes.split_once(':') {
            Some((name, bytes)) => {
                assert!(examples.insert(name.to_owned(), Vec::new()).is_none(), "{name} is there twice");
                current = Some(name.to_owned());
                bytes
            }
            None => bytes,
        };
        let name = current.as_ref().unwrap_or_else(|| panic!("bytes without a name: {line}"));
        examples.get_mut(name).unwrap().extend(parse(name, bytes));
    }
    examples
}

fn parse(name: &str, bytes: &str) -> Vec<u8> {
    let digits: Vec<u8> = bytes.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2), "half a byte in {name}: {bytes}");
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
    digits.chunks(2).map(|pair| byte(pair).unwrap_or_else(|_| panic!("no hex digits in {name}: {bytes}"))).collect()
}

/// The rows of the tables of limits: what, how much, the constant and its file, what happens at it, and which test shows it.
pub fn limits() -> Vec<[String; 6]> {
    let row = |line: &str| {
        let cells: Vec<String> = line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect();
        cells.try_into().unwrap_or_else(|cells| panic!("six columns: {cells:?}"))
    };
    let head = |line: &&str| !line.starts_with("| what |") && !line.starts_with("|---");
    let (tables, _) = LIMITS.split_once("\n## Measured\n").unwrap();
    tables.lines().filter(|line| line.starts_with('|')).filter(head).map(row).collect()
}

/// As the document writes bytes.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

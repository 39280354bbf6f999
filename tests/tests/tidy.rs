//! The house rules that the compiler does not check, over the whole workspace: see [`esker_tests::tidy`].

use esker_tests::tidy::{read_workspace, rules};
use std::path::Path;

#[test]
fn the_sources_keep_the_house_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests crate lies in the workspace");
    let sources = read_workspace(root).expect("the sources can be read");
    assert!(sources.len() > 20, "only {} sources found: is this the workspace?", sources.len());
    let violations = rules::check(&sources);
    assert!(
        violations.is_empty(),
        "{} violations:\n{}",
        violations.len(),
        violations.iter().map(|v| format!("  {v}\n")).collect::<String>()
    );
}

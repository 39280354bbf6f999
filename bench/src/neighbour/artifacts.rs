//! Kafka's jars: fetched once from Maven Central by Maven, and used only if every one has the checksum that is written
//! down here.
//!
//! `kafka-VERSION.sha256` has the jars of a release by name, as `sha256sum` prints them; `pom.xml` asks for what brings them.
//! They are kept below the build directory, where `cargo clean` removes them.

use anyhow::Context;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The release of Apache Kafka.
pub const VERSION: &str = "4.3.1";
/// What Maven is asked for.
const POM: &str = include_str!("pom.xml");
/// Every jar with its SHA-256.
const CHECKSUMS: &str = include_str!("kafka-4.3.1.sha256");
/// What Kafka logs, and where to.
const LOGGING: &str = include_str!("log4j2.properties");
/// Written last: the folder is complete.
const COMPLETE: &str = "complete";

/// Verified jars in a folder.
#[derive(Clone, Debug)]
pub struct Jars {
    folder: PathBuf,
}

impl Jars {
    /// Where they are kept if nobody says: beside what cargo built, else in the temporary folder.
    pub fn default_folder() -> PathBuf {
        let own = std::env::current_exe().unwrap_or_default();
        let target = own.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
        target.map_or_else(std::env::temp_dir, Path::to_owned).join("neighbour").join(format!("kafka-{VERSION}"))
    }

    /// Those in `folder`, fetched first if they are not there.
    ///
    /// # Errors
    /// Without Maven or a network, and for a jar that is not the one it should be.
    pub fn fetch(folder: &Path) -> anyhow::Result<Self> {
        let jars = Self { folder: folder.to_owned() };
        if folder.join(COMPLETE).exists() {
            return Ok(jars);
        }
        eprintln!("fetching Apache Kafka {VERSION} into {}", folder.display());
        // What an earlier attempt left may be in pieces.
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
        std::fs::create_dir_all(folder)?;
        let pom = folder.join("pom.xml");
        std::fs::write(&pom, POM)?;
        let status = Command::new("mvn")
            .args(["--quiet", "--batch-mode", "--strict-checksums", "-Dstyle.color=never", "--file"])
            .arg(&pom)
            .arg("dependency:copy-dependencies")
            .arg(format!("-DoutputDirectory={}", folder.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .context("mvn is needed to fetch Kafka: install maven")?;
        anyhow::ensure!(status.success(), "Kafka {VERSION} could not be fetched: see above");
        jars.verify()?;
        std::fs::write(jars.logging(), LOGGING)?;
        std::fs::write(folder.join(COMPLETE), "")?;
        Ok(jars)
    }

    /// What goes behind `java -cp`.
    pub fn class_path(&self) -> String {
        format!("{}/*", self.folder.display())
    }

    /// The configuration of Kafka's logging.
    pub fn logging(&self) -> PathBuf {
        self.folder.join("log4j2.properties")
    }

    /// Checks that the jars are those that are written down, no more and no fewer.
    fn verify(&self) -> anyhow::Result<()> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".jar") {
                found.push(name);
            }
        }
        let known: Vec<&str> =
            CHECKSUMS.lines().filter_map(|line| line.split_once("  ")).map(|(_, name)| name).collect();
        let foreign = found.iter().find(|name| !known.contains(&name.as_str()));
        anyhow::ensure!(foreign.is_none(), "Kafka {VERSION} came with {foreign:?}, which it does not have");
        let list = self.folder.join("sha256");
        std::fs::write(&list, CHECKSUMS)?;
        let output = Command::new("sha256sum")
            .args(["--check", "--strict", "--quiet"])
            .arg(&list)
            .current_dir(&self.folder)
            .output()
            .context("sha256sum is needed to verify what was fetched")?;
        let said = String::from_utf8_lossy(&output.stdout);
        anyhow::ensure!(output.status.success(), "what was fetched is not Kafka {VERSION}: {}", said.trim());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_the_release_is_not_used() {
        assert!(CHECKSUMS.lines().all(|line| line.len() > 66 && line.ends_with(".jar")));
        assert!(CHECKSUMS.contains(&format!("kafka_2.13-{VERSION}.jar")) && POM.contains(VERSION));
        let folder = tempfile::tempdir().unwrap();
        let jars = Jars { folder: folder.path().to_owned() };
        let missing = jars.verify().unwrap_err().to_string();
        assert!(missing.starts_with("what was fetched is not Kafka"), "{missing}");
        std::fs::write(folder.path().join("other.jar"), "x").unwrap();
        assert!(jars.verify().unwrap_err().to_string().contains("other.jar"));
    }

    #[test]
    fn a_folder_that_is_complete_is_used_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(COMPLETE), "").unwrap();
        assert!(Jars::fetch(folder.path()).unwrap().class_path().ends_with("/*"));
    }
}

//! How much the process logs, which can be changed while it runs (KIP-412): by its administrator, for this process only,
//! and for its log as a whole, which is the one logger that there is.

use parking_lot::Mutex;
use tracing::level_filters::LevelFilter;

type Reload = Box<dyn Fn(LevelFilter) -> Result<(), String> + Send + Sync>;

/// The level of the process's log.
pub struct LogLevel {
    level: Mutex<LevelFilter>,
    reload: Reload,
}

/// Kafka's names of levels; nothing here is fatal and goes on, so that FATAL logs nothing.
const LEVELS: [(&str, LevelFilter); 6] = [
    ("DEBUG", LevelFilter::DEBUG),
    ("ERROR", LevelFilter::ERROR),
    ("FATAL", LevelFilter::OFF),
    ("INFO", LevelFilter::INFO),
    ("TRACE", LevelFilter::TRACE),
    ("WARN", LevelFilter::WARN),
];

impl LogLevel {
    /// A log that is at `level`, and that `reload` gives another one.
    pub fn new(
        level: LevelFilter,
        reload: impl Fn(LevelFilter) -> Result<(), String> + Send + Sync + 'static,
    ) -> LogLevel {
        LogLevel { level: Mutex::new(level), reload: Box::new(reload) }
    }

    /// Kafka's name of the level now.
    pub fn name(&self) -> &'static str {
        let level = *self.level.lock();
        LEVELS.iter().find(|(_, known)| *known == level).map_or("INFO", |(name, _)| name)
    }

    /// Kafka's names of all levels.
    pub fn names() -> impl Iterator<Item = &'static str> {
        LEVELS.iter().map(|(name, _)| *name)
    }

    /// Whether there is a level of that name.
    pub fn is_name(name: &str) -> bool {
        LogLevel::names().any(|known| known == name)
    }

    /// Logs at another level from now on. A name that is none changes nothing.
    ///
    /// # Errors
    /// What keeps the log at its level.
    pub fn set(&self, name: &str) -> Result<(), String> {
        let Some((_, wanted)) = LEVELS.iter().find(|(known, _)| *known == name) else { return Ok(()) };
        let mut level = self.level.lock();
        (self.reload)(*wanted)?;
        *level = *wanted;
        Ok(())
    }
}

impl Default for LogLevel {
    /// The level of a log that somebody else is in charge of.
    fn default() -> LogLevel {
        LogLevel::new(LevelFilter::INFO, |_| Ok(()))
    }
}

impl std::fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LogLevel").field(&self.name()).finish()
    }
}

//! `hiendien migrate`: the database's schema, before the programs that need it.
#![expect(
    clippy::print_stdout,
    reason = "the output of a command is what it is for"
)]

use anyhow::Context;
use hiendien_store::{Place, StoreError, migrate as migrate_store};

use crate::config::Config;

/// Brings the configured database to the newest schema this program knows, and tells from where.
/// Works while the release before this one runs.
pub(crate) async fn migrate(config: &Config) -> anyhow::Result<()> {
    let place = config.store_settings().place;
    if let Place::Sqlite(_) = &place {
        std::fs::create_dir_all(&config.state).with_context(|| {
            format!(
                "cannot make the state directory `{}`",
                config.state.display()
            )
        })?;
    }
    let wanted = place.clone();
    let migrated = tokio::task::spawn_blocking(move || migrate_store(&wanted)).await?;
    let migrated = migrated.with_context(|| format!("cannot migrate `{place}`"));
    let migrated = match (&place, migrated) {
        (Place::Postgres(_), Err(error))
            if error
                .downcast_ref::<StoreError>()
                .is_some_and(|error| matches!(error, StoreError::Postgres(_))) =>
        {
            return Err(error).context(
                "nothing was changed by the step that failed\n  \
                 does the server answer? `pg_isready -d` and the URL of `store.postgres` tells; \
                 its log tells more\n  \
                 may the role make tables? it has to own the database",
            );
        }
        (_, migrated) => migrated?,
    };
    if migrated.from == migrated.to {
        println!("`{place}` has schema {} already", migrated.to);
    } else {
        println!(
            "`{place}` is brought from schema {} to {}",
            migrated.from, migrated.to
        );
    }
    Ok(())
}

//! Zones, delegations and challenges for the embedded authoritative server.

use async_trait::async_trait;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::name::DomainName;
use hiendien_domain::records::{ZoneSpec, guard};
use hiendien_engine::ports::{Delegation, Delegations, PortError, ServedZone, ZoneSource, Zones};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use crate::SqliteStore;
use crate::error::StoreError;
use crate::row::{IntoPort, from_json, text, to_json};

/// Serials grow with every change and with time, so that a zone that was dropped and made anew
/// does not go back (RFC 1982).
fn serial_after(previous: Option<u32>, now: Timestamp) -> u32 {
    let seconds = u32::try_from(now.as_second()).unwrap_or(u32::MAX);
    previous.map_or(seconds, |previous| seconds.max(previous.wrapping_add(1)))
}

fn bump(connection: &Connection, apex: &str, now: Timestamp) -> Result<Option<u32>, StoreError> {
    let previous: Option<u32> = connection
        .prepare_cached("SELECT serial FROM zone WHERE apex = ?1")?
        .query_row([apex], |row| row.get(0))
        .optional()?;
    let Some(previous) = previous else {
        return Ok(None);
    };
    let serial = serial_after(Some(previous), now);
    connection
        .prepare_cached("UPDATE zone SET serial = ?2 WHERE apex = ?1")?
        .execute((apex, serial))?;
    Ok(Some(serial))
}

#[async_trait]
impl Zones for SqliteStore {
    async fn put_zone(&self, presence: PresenceId, spec: &ZoneSpec) -> Result<u32, PortError> {
        let action = format!("writing zone `{}`", spec.apex);
        let (spec, now) = (spec.clone(), self.clock.now());
        let put = move |connection: &Connection| {
            let held = connection
                .prepare_cached("SELECT presence_id, serial, spec FROM zone WHERE apex = ?1")?
                .query_and_then([spec.apex.as_str()], |row| {
                    let holder: PresenceId = text(row, "presence_id")?;
                    let held: ZoneSpec = from_json("zone.spec", &row.get::<_, String>("spec")?)?;
                    Ok::<_, StoreError>((holder, row.get::<_, u32>("serial")?, held))
                })?
                .next()
                .transpose()?;
            if let Some((holder, serial, held)) = &held {
                if *holder != presence {
                    return Ok(Err("it belongs to another presence".to_owned()));
                }
                if *held == spec {
                    return Ok(Ok(*serial));
                }
                if let Err(brake) = guard(held, &spec) {
                    return Ok(Err(brake.to_string()));
                }
            }
            let serial = serial_after(held.map(|(_, serial, _)| serial), now);
            connection
                .prepare_cached(
                    "INSERT INTO zone (apex, presence_id, serial, spec) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (apex) DO UPDATE SET serial = excluded.serial, spec = excluded.spec",
                )?
                .execute((
                    spec.apex.as_str(),
                    presence.to_string(),
                    serial,
                    to_json("zone.spec", &spec)?,
                ))?;
            Ok(Ok(serial))
        };
        let put = self.database.write(put).await.port(&action)?;
        put.map_err(|refusal| PortError::rejected(action, refusal))
    }

    async fn add_challenges(
        &self,
        apex: &DomainName,
        values: &[(DomainName, String)],
    ) -> Result<u32, PortError> {
        let action = format!("adding challenge records to zone `{apex}`");
        let (apex, values, now) = (apex.clone(), values.to_vec(), self.clock.now());
        let add = move |connection: &Connection| {
            let mut added = 0;
            for (owner, value) in &values {
                added += connection
                    .prepare_cached(
                        "INSERT INTO challenge (apex, owner, value) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                    )?
                    .execute((apex.as_str(), owner.as_str(), value))?;
            }
            if added > 0 {
                return bump(connection, apex.as_str(), now);
            }
            let serial = connection
                .prepare_cached("SELECT serial FROM zone WHERE apex = ?1")?
                .query_row([apex.as_str()], |row| row.get(0))
                .optional()?;
            Ok(serial)
        };
        let serial = self.database.write(add).await.port(&action)?;
        serial.ok_or_else(|| PortError::misconfigured(action, "there is no such zone"))
    }

    async fn remove_challenges(
        &self,
        apex: &DomainName,
        values: &[(DomainName, String)],
    ) -> Result<(), PortError> {
        let (apex, values, now) = (apex.clone(), values.to_vec(), self.clock.now());
        let remove = move |connection: &Connection| {
            let mut removed = 0;
            for (owner, value) in &values {
                removed += connection
                    .prepare_cached(
                        "DELETE FROM challenge WHERE apex = ?1 AND owner = ?2 AND value = ?3",
                    )?
                    .execute((apex.as_str(), owner.as_str(), value))?;
            }
            if removed > 0 {
                bump(connection, apex.as_str(), now)?;
            }
            Ok(())
        };
        self.database
            .write(remove)
            .await
            .port("removing challenge records")
    }
}

#[async_trait]
impl Delegations for SqliteStore {
    async fn put_delegation(
        &self,
        presence: PresenceId,
        delegation: &Delegation,
    ) -> Result<(), PortError> {
        let delegation = delegation.clone();
        let put = move |connection: &Connection| {
            connection
                .prepare_cached(
                    "INSERT INTO delegation (child, presence_id, name_servers) VALUES (?1, ?2, ?3)
                     ON CONFLICT (child) DO UPDATE
                     SET presence_id = excluded.presence_id, name_servers = excluded.name_servers",
                )?
                .execute((
                    delegation.child.as_str(),
                    presence.to_string(),
                    to_json("delegation.name_servers", &delegation.name_servers)?,
                ))?;
            Ok(())
        };
        self.database.write(put).await.port("writing a delegation")
    }
}

impl ZoneSource for SqliteStore {
    fn zone_serial(&self, apex: &DomainName) -> Result<Option<u32>, PortError> {
        self.database
            .read_blocking(|connection| {
                let serial = connection
                    .prepare_cached("SELECT serial FROM zone WHERE apex = ?1")?
                    .query_row([apex.as_str()], |row| row.get(0))
                    .optional()?;
                Ok(serial)
            })
            .port("reading a zone's serial")
    }

    fn zone(&self, apex: &DomainName) -> Result<Option<ServedZone>, PortError> {
        self.database
            .read_blocking(|connection| {
                // One snapshot for both reads: a challenge added in between would belong to a newer serial.
                let transaction = connection.unchecked_transaction()?;
                let zone = transaction
                    .prepare_cached("SELECT serial, spec FROM zone WHERE apex = ?1")?
                    .query_and_then([apex.as_str()], |row| {
                        let spec = from_json("zone.spec", &row.get::<_, String>("spec")?)?;
                        Ok::<(u32, ZoneSpec), StoreError>((row.get("serial")?, spec))
                    })?
                    .next()
                    .transpose()?;
                let Some((serial, spec)) = zone else {
                    return Ok(None);
                };
                let challenges = transaction
                    .prepare_cached("SELECT owner, value FROM challenge WHERE apex = ?1")?
                    .query_and_then([apex.as_str()], |row| {
                        Ok::<_, StoreError>((text(row, "owner")?, row.get("value")?))
                    })?
                    .collect::<Result<_, _>>()?;
                transaction.commit()?;
                Ok(Some(ServedZone {
                    spec,
                    serial,
                    challenges,
                }))
            })
            .port("reading a zone")
    }

    fn delegation(&self, child: &DomainName) -> Result<Option<Delegation>, PortError> {
        self.database
            .read_blocking(|connection| {
                connection
                    .prepare_cached("SELECT name_servers FROM delegation WHERE child = ?1")?
                    .query_and_then([child.as_str()], |row| {
                        let json: String = row.get(0)?;
                        let name_servers = from_json("delegation.name_servers", &json)?;
                        Ok(Delegation {
                            child: child.clone(),
                            name_servers,
                        })
                    })?
                    .next()
                    .transpose()
            })
            .port("reading a delegation")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_never_go_back() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        assert_eq!(serial_after(None, now), 1_800_000_000);
        assert_eq!(serial_after(Some(1_800_000_000), now), 1_800_000_001);
        assert_eq!(serial_after(Some(1_900_000_000), now), 1_900_000_001);
    }
}

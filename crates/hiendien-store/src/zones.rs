//! Zones, delegations and challenges for the embedded authoritative server.

use async_trait::async_trait;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::name::DomainName;
use hiendien_domain::records::{ZoneSpec, guard};
use hiendien_engine::ports::{Delegation, Delegations, PortError, ServedZone, ZoneSource, Zones};
use jiff::Timestamp;

use crate::Store;
use crate::error::StoreError;
use crate::lifecycle::{GIVEN_UP, made_unless_given_up, may_make};
use crate::row::{IntoPort, from_json, optional_text, text, to_json};
use crate::sql::{Connection, params};

/// Serials grow with every change and with time, so that a zone that was dropped and made anew
/// does not go back (RFC 1982).
fn serial_after(previous: Option<u32>, now: Timestamp) -> u32 {
    let seconds = u32::try_from(now.as_second()).unwrap_or(u32::MAX);
    previous.map_or(seconds, |previous| seconds.max(previous.wrapping_add(1)))
}

fn bump(
    connection: &Connection<'_>,
    apex: &str,
    now: Timestamp,
) -> Result<Option<u32>, StoreError> {
    let previous: Option<u32> = connection.query_first(
        "SELECT serial FROM zone WHERE apex = ?1 FOR UPDATE",
        params![apex],
        |row| row.get("serial"),
    )?;
    let Some(previous) = previous else {
        return Ok(None);
    };
    let serial = serial_after(Some(previous), now);
    connection.execute(
        "UPDATE zone SET serial = ?2 WHERE apex = ?1",
        params![apex, serial],
    )?;
    Ok(Some(serial))
}

#[async_trait]
impl Zones for Store {
    async fn put_zone(&self, presence: PresenceId, spec: &ZoneSpec) -> Result<u32, PortError> {
        let action = format!("writing zone `{}`", spec.apex);
        let (spec, now) = (spec.clone(), self.clock.now());
        let put = move |connection: &Connection<'_>| {
            let held = connection.query_first(
                "SELECT presence_id, serial, spec FROM zone WHERE apex = ?1 FOR UPDATE",
                params![spec.apex.as_str()],
                |row| {
                    let holder: PresenceId = text(row, "presence_id")?;
                    let held: ZoneSpec = from_json("zone.spec", row.str("spec")?)?;
                    Ok((holder, row.get::<u32>("serial")?, held))
                },
            )?;
            if !may_make(connection, presence)? {
                return Ok(Err(GIVEN_UP.to_owned()));
            }
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
            let serial = serial_after(held.as_ref().map(|(_, serial, _)| *serial), now);
            // Of two that find no zone, one inserts it; the other then finds whose it is.
            connection.execute(
                match held {
                    Some(_) => {
                        "UPDATE zone SET serial = ?3, spec = ?4 WHERE apex = ?1 AND presence_id = ?2"
                    }
                    None => {
                        "INSERT INTO zone (apex, presence_id, serial, spec) VALUES (?1, ?2, ?3, ?4)"
                    }
                },
                params![
                    spec.apex.as_str(),
                    &presence.to_string(),
                    serial,
                    &to_json("zone.spec", &spec)?,
                ],
            )?;
            Ok(Ok(serial))
        };
        let put = self.database.write(put).await.port(&action)?;
        put.map_err(|refusal| PortError::rejected(action, refusal))
    }

    async fn remove_zone(&self, presence: PresenceId, apex: &DomainName) -> Result<(), PortError> {
        let action = format!("removing zone `{apex}`");
        let apex = apex.clone();
        let remove = move |connection: &Connection<'_>| {
            let removed = connection.execute(
                "DELETE FROM zone WHERE apex = ?1 AND presence_id = ?2",
                params![apex.as_str(), &presence.to_string()],
            )?;
            if removed > 0 {
                connection.execute(
                    "DELETE FROM challenge WHERE apex = ?1",
                    params![apex.as_str()],
                )?;
            }
            Ok(())
        };
        self.database.write(remove).await.port(&action)
    }

    async fn add_challenges(
        &self,
        apex: &DomainName,
        values: &[(DomainName, String)],
    ) -> Result<u32, PortError> {
        let action = format!("adding challenge records to zone `{apex}`");
        let (apex, values, now) = (apex.clone(), values.to_vec(), self.clock.now());
        let add = move |connection: &Connection<'_>| {
            // Values without a zone would be nobody's.
            let zone = connection.query_first(
                "SELECT serial FROM zone WHERE apex = ?1 FOR UPDATE",
                params![apex.as_str()],
                |_| Ok(()),
            )?;
            if zone.is_none() {
                return Ok(None);
            }
            let mut added = 0;
            for (owner, value) in &values {
                added += connection.execute(
                    "INSERT INTO challenge (apex, owner, value) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO NOTHING",
                    params![apex.as_str(), owner.as_str(), value],
                )?;
            }
            if added > 0 {
                return bump(connection, apex.as_str(), now);
            }
            connection.query_first(
                "SELECT serial FROM zone WHERE apex = ?1",
                params![apex.as_str()],
                |row| row.get("serial"),
            )
        };
        let serial = self.database.write(add).await.port(&action)?;
        serial.ok_or_else(|| PortError::misconfigured(action, "there is no such zone"))
    }

    async fn clear_challenges(&self, apex: &DomainName) -> Result<(), PortError> {
        let (apex, now) = (apex.clone(), self.clock.now());
        let clear = move |connection: &Connection<'_>| {
            let cleared = connection.execute(
                "DELETE FROM challenge WHERE apex = ?1",
                params![apex.as_str()],
            )?;
            if cleared > 0 {
                bump(connection, apex.as_str(), now)?;
            }
            Ok(())
        };
        self.database
            .write(clear)
            .await
            .port("clearing challenge records away")
    }

    async fn remove_challenges(
        &self,
        apex: &DomainName,
        values: &[(DomainName, String)],
    ) -> Result<(), PortError> {
        let (apex, values, now) = (apex.clone(), values.to_vec(), self.clock.now());
        let remove = move |connection: &Connection<'_>| {
            let mut removed = 0;
            for (owner, value) in &values {
                removed += connection.execute(
                    "DELETE FROM challenge WHERE apex = ?1 AND owner = ?2 AND value = ?3",
                    params![apex.as_str(), owner.as_str(), value],
                )?;
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
impl Delegations for Store {
    async fn put_delegation(
        &self,
        presence: PresenceId,
        delegation: &Delegation,
    ) -> Result<(), PortError> {
        let action = format!("writing the delegation of `{}`", delegation.child);
        let delegation = delegation.clone();
        let put = move |connection: &Connection<'_>| {
            if !may_make(connection, presence)? {
                return Ok(false);
            }
            connection.execute(
                "INSERT INTO delegation (child, presence_id, name_servers) VALUES (?1, ?2, ?3)
                 ON CONFLICT (child) DO UPDATE
                 SET presence_id = excluded.presence_id, name_servers = excluded.name_servers",
                params![
                    delegation.child.as_str(),
                    &presence.to_string(),
                    &to_json("delegation.name_servers", &delegation.name_servers)?,
                ],
            )?;
            Ok(true)
        };
        let made = self.database.write(put).await.port(&action)?;
        made_unless_given_up(made, action)
    }

    async fn remove_delegation(
        &self,
        presence: PresenceId,
        child: &DomainName,
    ) -> Result<(), PortError> {
        let action = format!("removing the delegation of `{child}`");
        let child = child.clone();
        let remove = move |connection: &Connection<'_>| {
            connection.execute(
                "DELETE FROM delegation WHERE child = ?1 AND presence_id = ?2",
                params![child.as_str(), &presence.to_string()],
            )?;
            Ok(())
        };
        self.database.write(remove).await.port(&action)
    }
}

impl ZoneSource for Store {
    fn zone_serial(&self, apex: &DomainName) -> Result<Option<u32>, PortError> {
        self.database
            .read_blocking(|connection| {
                connection.query_first(
                    "SELECT serial FROM zone WHERE apex = ?1",
                    params![apex.as_str()],
                    |row| row.get("serial"),
                )
            })
            .port("reading a zone's serial")
    }

    fn zone(&self, apex: &DomainName) -> Result<Option<ServedZone>, PortError> {
        self.database
            .read_blocking(|connection| {
                // One statement, hence one snapshot: a challenge added in between would belong to
                // a newer serial. A row per challenge, and one where there is none.
                let mut zone = None;
                connection.query(
                    "SELECT zone.serial, zone.spec, challenge.owner, challenge.value
                     FROM zone LEFT JOIN challenge ON challenge.apex = zone.apex
                     WHERE zone.apex = ?1
                     ORDER BY challenge.owner, challenge.value",
                    params![apex.as_str()],
                    |row| {
                        let served = match &mut zone {
                            Some(served) => served,
                            None => zone.insert(ServedZone {
                                spec: from_json("zone.spec", row.str("spec")?)?,
                                serial: row.get("serial")?,
                                challenges: Vec::new(),
                            }),
                        };
                        if let Some(owner) = optional_text(row, "owner")? {
                            served.challenges.push((owner, row.get("value")?));
                        }
                        Ok(())
                    },
                )?;
                Ok(zone)
            })
            .port("reading a zone")
    }

    fn delegation(&self, child: &DomainName) -> Result<Option<Delegation>, PortError> {
        self.database
            .read_blocking(|connection| {
                connection.query_first(
                    "SELECT name_servers FROM delegation WHERE child = ?1",
                    params![child.as_str()],
                    |row| {
                        Ok(Delegation {
                            child: child.clone(),
                            name_servers: from_json(
                                "delegation.name_servers",
                                row.str("name_servers")?,
                            )?,
                        })
                    },
                )
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

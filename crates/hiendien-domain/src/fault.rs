//! What is wrong with input from outside, told so that the sender can mend it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One fault: where it is, a stable code for programs, and how to mend it in Vietnamese and English.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fault {
    /// JSON Pointer (RFC 6901) to the member at fault; empty for the whole document.
    pub pointer: String,
    /// Stable, dotted, lower-case code, such as `tax_id.check_digit`.
    pub code: String,
    /// What is wrong and how to mend it, in Vietnamese.
    pub vi: String,
    /// The same in English.
    pub en: String,
}

/// All the faults of one document, never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            let pointer = if fault.pointer.is_empty() {
                "/"
            } else {
                &fault.pointer
            };
            write!(
                formatter,
                "`{pointer}`: {} [{}]\n    {}",
                fault.en, fault.code, fault.vi
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

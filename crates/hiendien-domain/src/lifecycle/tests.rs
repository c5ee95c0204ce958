use std::fmt::Write;

use super::*;

#[test]
fn every_standing_answers_every_verb() {
    let mut table = String::new();
    for standing in Standing::ALL {
        writeln!(table, "{standing}").unwrap();
        for verb in Verb::ALL {
            let answer = match standing.after(*verb) {
                Ok(Transition::To(to)) => format!("-> {to}"),
                Ok(Transition::Already) => "already".to_owned(),
                Err(refusal) => format!("no: {}", refusal.hint),
            };
            writeln!(table, "    {verb:<15} {answer}").unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn nothing_leads_back_from_a_name_that_was_given_up() {
    for standing in Standing::ALL
        .iter()
        .filter(|standing| !standing.holds_name())
    {
        for verb in Verb::ALL {
            if let Ok(Transition::To(to)) = standing.after(*verb) {
                assert_eq!(to, Standing::Purged, "{verb} on {standing}");
            }
        }
    }
}

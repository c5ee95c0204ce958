//! How the databases go about our statements. PostgreSQL writes the plans of what was really run to its log; the
//! same texts are then explained by SQLite, since a statement is written once for both.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::place::Sql;

/// What grows with the presences: none of it may be read from end to end.
const GROWING: &[&str] = &[
    "claim",
    "event",
    "operation",
    "plane",
    "presence",
    "step",
    "webhook_delivery",
    "webhook_lane",
];

/// Has the server write down the plan of every statement in this database from the next connection on.
pub(crate) const WRITE_DOWN: &str =
    "ALTER DATABASE {database} SET session_preload_libraries = 'auto_explain';
    ALTER DATABASE {database} SET auto_explain.log_min_duration = 0;
    ALTER DATABASE {database} SET auto_explain.log_format = 'json'";
pub(crate) const WRITE_NO_MORE: &str = "ALTER DATABASE {database} RESET ALL";

/// A statement and how a database goes about it.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) statement: String,
    /// How each table is come at.
    pub(crate) ways: Vec<String>,
    pub(crate) reads_all: bool,
}

fn is_plan(line: &str) -> bool {
    line.starts_with("LOG:  duration:") && line.ends_with("plan:")
}

/// Statements whose plans are in a server's log.
pub(crate) fn count_in_log(log: &str) -> usize {
    log.lines().filter(|line| is_plan(line)).count()
}

/// The plans in a server's log, one for each way a statement was gone about.
pub(crate) fn in_log(log: &str) -> Vec<Plan> {
    let mut found: BTreeMap<(String, Vec<String>), Plan> = BTreeMap::new();
    let mut lines = log.lines().peekable();
    while let Some(line) = lines.next() {
        if !is_plan(line) {
            continue;
        }
        let mut json = String::new();
        while let Some(more) = lines.next_if(|line| line.starts_with('\t')) {
            json.push_str(more);
            json.push('\n');
        }
        let Ok(told) = serde_json::from_str::<Value>(&json.replace('\t', " ")) else {
            continue;
        };
        let statement = squeezed(told["Query Text"].as_str().unwrap_or_default());
        let mut plan = Plan {
            statement: statement.clone(),
            ways: Vec::new(),
            reads_all: false,
        };
        walk(&told["Plan"], &mut plan);
        found.entry((statement, plan.ways.clone())).or_insert(plan);
    }
    found.into_values().collect()
}

fn walk(node: &Value, plan: &mut Plan) {
    let kind = node["Node Type"].as_str().unwrap_or_default();
    let table = node["Relation Name"].as_str().unwrap_or_default();
    match node["Index Name"].as_str() {
        Some(index) => plan.ways.push(format!("{kind} {index}")),
        None if kind.ends_with("Scan") && !table.is_empty() => {
            plan.ways.push(format!("{kind} {table}"));
            plan.reads_all |= kind == "Seq Scan" && GROWING.contains(&table);
        }
        None => {}
    }
    for below in node["Plans"].as_array().into_iter().flatten() {
        walk(below, plan);
    }
}

fn squeezed(sql: &str) -> String {
    sql.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// How SQLite would go about the statements of these plans; those that are PostgreSQL's alone are left out.
pub(crate) fn of_sqlite(sql: &mut Sql, of: &[Plan]) -> Vec<Plan> {
    let mut statements: Vec<&String> = of.iter().map(|plan| &plan.statement).collect();
    statements.dedup();
    let mut found = Vec::new();
    for statement in statements {
        let ours = statement.replace('$', "?");
        let ours = ours.strip_suffix(" SKIP LOCKED").unwrap_or(&ours);
        let ours = ours.strip_suffix("FOR UPDATE").unwrap_or(ours);
        let Ok(rows) = sql.rows(&format!("EXPLAIN QUERY PLAN {ours}")) else {
            continue;
        };
        let ways: Vec<String> = rows
            .into_iter()
            .filter_map(|mut row| row.pop())
            .filter(|way| way.starts_with("SCAN") || way.starts_with("SEARCH"))
            .collect();
        let reads_all = ways.iter().any(|way| {
            let table = way.strip_prefix("SCAN ").unwrap_or_default();
            GROWING.contains(&table)
        });
        found.push(Plan {
            statement: statement.clone(),
            ways,
            reads_all,
        });
    }
    found
}

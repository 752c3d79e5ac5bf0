//! The look-up by keys beside the simplest one: bus, vendor and device in columns, the other patterns of the bus scanned.
//!
//! `cargo bench --bench columns`. Both are SQLite databases of the same patterns: those of a real kernel's modules.alias, and a
//! million made-up ones.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use dkms_index::keys::{KeyBuilder, KeyFilter};
use dkms_index::modalias::Modalias;
use dkms_index::pattern::Pattern;
use dkms_tests::synthetic::{Synthetic, device_for};
use dkms_tests::{inputs, kernel_aliases};
use rusqlite::{Connection, OpenFlags, Params, params};

const MILLION: usize = 1_000_000;

/// A bus with fewer patterns than this is not shown.
const SHOWN_MIN: usize = 100;
/// Its devices have strings of thousands of bytes, and Linux has only some hundred patterns of it.
const LEFT_OUT: &str = "cpu";

/// The buses with ids: the name of the vendor's field, its digits, the name of the device's field with as many.
const BUSES: [(&str, &str, usize, &str); 5] = [
    ("pci:", "v", 8, "d"),
    ("usb:", "v", 4, "p"),
    ("hid:", "v", 8, "p"),
    ("sdio:", "v", 4, "d"),
    ("virtio:", "d", 8, "v"),
];

fn main() {
    let [_, release] = inputs::kernels();
    let real: Vec<Pattern> = kernel_aliases::read(&release)
        .into_iter()
        .map(|(pattern, _)| pattern)
        .collect();
    compare("modules.alias", &real);
    let mut synthetic = Synthetic::new(1);
    let million: Vec<Pattern> = (0..MILLION).map(|_| synthetic.pattern()).collect();
    compare("made up", &million);
}

/// Prints one table: the median of a look-up for devices that patterns of the bus match.
fn compare(what: &str, patterns: &[Pattern]) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let keyed = Keyed::new(&dir.path().join("keys.db"), patterns);
    let columns = Columns::new(&dir.path().join("columns.db"), patterns);
    let mut by_bus: BTreeMap<String, Vec<&Pattern>> = BTreeMap::new();
    for pattern in patterns {
        let bus = text(pattern).split([':', '*']).next().unwrap_or_default().to_owned();
        by_bus.entry(bus).or_default().push(pattern);
    }
    println!("{what}, {} patterns", patterns.len());
    println!("  {:<10} {:>9} {:>10} {:>12}", "bus", "patterns", "keys", "columns");
    by_bus.retain(|bus, patterns| bus != LEFT_OUT && patterns.len() >= SHOWN_MIN);
    for (bus, patterns) in &by_bus {
        let devices: Vec<Modalias> = patterns
            .iter()
            .step_by(patterns.len() / 20)
            .map(|pattern| device_for(pattern))
            .collect();
        for device in &devices {
            assert_eq!(keyed.find(device), columns.find(device), "{device}");
        }
        let (by_key, by_column) = (
            median_us(&devices, |device| keyed.find(device).len()),
            median_us(&devices, |device| columns.find(device).len()),
        );
        println!("  {bus:<10} {:>9} {by_key:>7.1} µs {by_column:>9.1} µs", patterns.len());
    }
}

fn median_us(devices: &[Modalias], find: impl Fn(&Modalias) -> usize) -> f64 {
    let time = |device: &Modalias| {
        let start = Instant::now();
        divan::black_box(find(device));
        start.elapsed().as_secs_f64() * 1e6
    };
    let mut times: Vec<f64> = devices.iter().cycle().take(3 * devices.len()).map(time).collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn text(pattern: &Pattern) -> String {
    String::from_utf8_lossy(pattern.as_bytes()).into_owned()
}

/// A database that nobody reads before it is whole.
fn create(path: &Path, schema: &str) -> Connection {
    let db = Connection::open(path).expect("a database");
    db.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN;")
        .and_then(|()| db.execute_batch(schema))
        .expect("tables");
    db
}

fn reopen(path: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).expect("a database")
}

/// Runs a query for number and pattern, and adds the numbers of the patterns that match.
fn collect(db: &Connection, sql: &str, parameters: impl Params, device: &Modalias, found: &mut Vec<i64>) {
    let mut select = db.prepare_cached(sql).expect("a query");
    let mut rows = select.query(parameters).expect("rows");
    while let Some(row) = rows.next().expect("a row") {
        let pattern = row.get_ref(1).expect("a pattern").as_bytes().expect("text");
        if Pattern::parse(pattern).is_ok_and(|pattern| pattern.matches(device)) {
            found.push(row.get(0).expect("a number"));
        }
    }
}

/// The tables of the agent's cache.
struct Keyed {
    db: Connection,
    filter: KeyFilter,
}

impl Keyed {
    fn new(path: &Path, patterns: &[Pattern]) -> Self {
        let db = create(
            path,
            "CREATE TABLE pattern (key INTEGER, number INTEGER, pattern TEXT, PRIMARY KEY (key, number)) WITHOUT ROWID;
             CREATE TEMP TABLE arrived (key INTEGER, pattern TEXT);",
        );
        let mut keys = KeyBuilder::new(patterns.len());
        for pattern in patterns {
            let row = params![keys.add(pattern).0, text(pattern)];
            let insert = db.prepare_cached("INSERT INTO arrived VALUES (?1, ?2)");
            insert.and_then(|mut insert| insert.execute(row)).expect("a row");
        }
        db.execute_batch("INSERT INTO pattern SELECT key, rowid, pattern FROM arrived ORDER BY key, rowid; COMMIT")
            .expect("a table");
        Self {
            db: reopen(path),
            filter: keys.finish(),
        }
    }

    fn find(&self, device: &Modalias) -> Vec<i64> {
        let mut found = Vec::new();
        for range in self.filter.keys(device) {
            let sql = "SELECT number, pattern FROM pattern WHERE key BETWEEN ?1 AND ?2";
            collect(&self.db, sql, [range.first.0, range.last.0], device, &mut found);
        }
        found.sort_unstable();
        found
    }
}

/// Bus, vendor and device as a pattern or a device writes them; empty where a pattern leaves them open.
fn ids(text: &str) -> [&str; 3] {
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    let bus = if text[end..].starts_with(':') {
        &text[..=end]
    } else {
        ""
    };
    let Some((_, vendor, digits, device)) = BUSES.iter().find(|(name, ..)| *name == bus) else {
        return [bus, "", ""];
    };
    // hid and sdio have other fields before the vendor, and those have no `v`.
    let Some(start) = text[end..].find(vendor).map(|at| end + at) else {
        return [bus, "", ""];
    };
    let field = |start: usize, name: &str| {
        let value = text[start..].strip_prefix(name)?.get(..*digits)?;
        value
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte))
            .then_some(value)
    };
    match field(start, vendor) {
        Some(value) => [
            bus,
            value,
            field(start + vendor.len() + digits, device).unwrap_or_default(),
        ],
        None => [bus, "", ""],
    }
}

/// The simplest tables.
struct Columns(Connection);

impl Columns {
    fn new(path: &Path, patterns: &[Pattern]) -> Self {
        let db = create(
            path,
            "CREATE TABLE pattern (bus TEXT, vendor TEXT, device TEXT, number INTEGER, pattern TEXT,
                 PRIMARY KEY (bus, vendor, device, number)) WITHOUT ROWID;
             CREATE TEMP TABLE arrived (bus TEXT, vendor TEXT, device TEXT, pattern TEXT);",
        );
        for pattern in patterns {
            let text = text(pattern);
            let [bus, vendor, device] = ids(&text);
            let insert = db.prepare_cached("INSERT INTO arrived VALUES (?1, ?2, ?3, ?4)");
            let row = params![bus, vendor, device, text];
            insert.and_then(|mut insert| insert.execute(row)).expect("a row");
        }
        let fill = "INSERT INTO pattern SELECT bus, vendor, device, rowid, pattern FROM arrived
                        ORDER BY bus, vendor, device, rowid; COMMIT";
        db.execute_batch(fill).expect("a table");
        Self(reopen(path))
    }

    fn find(&self, device: &Modalias) -> Vec<i64> {
        let text = device.to_string();
        let [bus, vendor, product] = ids(&text);
        let mut asked = vec![["", "", ""], [bus, "", ""], [bus, vendor, ""], [bus, vendor, product]];
        asked.dedup();
        let mut found = Vec::new();
        for columns in asked {
            let sql = "SELECT number, pattern FROM pattern WHERE bus = ?1 AND vendor = ?2 AND device = ?3";
            collect(&self.0, sql, columns, device, &mut found);
        }
        found.sort_unstable();
        found
    }
}

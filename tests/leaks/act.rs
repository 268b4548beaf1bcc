//! What clients do: everything that leaves state behind, or takes it back.

use crate::pair::Request;
use crate::random::Random;
use crate::view;

/// Functions that leave things behind.
pub(crate) const SCHEMA: &str = "
    create function sets() returns int language plpgsql as $$ begin
        set work_mem = '3MB'; set enable_sort = off; set hunt.a = 'by a function'; return 1; end $$;
    create function locks() returns int language plpgsql as $$ begin
        perform pg_advisory_lock(4711); return 1; end $$;
    create function makes() returns int language plpgsql as $$ begin
        create temp table by_function (a int); return 1; end $$;
    create function listens() returns int language plpgsql as $$ begin
        execute 'listen by_function'; return 1; end $$;
    create function prepares() returns int language plpgsql as $$ begin
        execute 'prepare by_function as select 1'; return 1; end $$;
    create function sets_role() returns int language plpgsql as $$ begin
        set role hunted; return 1; end $$;
    create function holds() returns int language plpgsql as $$ begin
        execute 'declare by_function cursor with hold for select 1'; return 1; end $$;
    create table serials (client int, id serial);
    do $$ begin for i in 0..9 loop execute 'create sequence values_of_' || i; end loop; end $$";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Direct,
    Proxied,
}

/// What a client does in one step.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    requests: Vec<Request>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Settings,
    /// What a routine does through the proxy is undone, so it does nothing where there is none.
    Routine,
    Pins,
    /// All that pins is gone afterwards.
    Unpins,
}

impl Act {
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.clone()
    }

    pub(crate) fn is_for(&self, side: Side) -> bool {
        self.kind != Kind::Routine || side == Side::Proxied
    }

    pub(crate) fn pins(&self) -> bool {
        self.kind == Kind::Pins
    }

    pub(crate) fn unpins(&self) -> bool {
        self.kind == Kind::Unpins
    }

    /// `may_pin`: it may hold a server connection. `is_pinned`: it may do so already; then what a routine leaves is its
    /// own to find until it gives the connection back.
    pub(crate) fn random(
        random: &mut Random,
        client: usize,
        may_pin: bool,
        is_pinned: bool,
    ) -> Self {
        let mut author = Author { random, client };
        let choice = author.random.below(100);
        match choice {
            0..10 if !is_pinned => author.routine(),
            10..21 if may_pin => author.pin(),
            21..28 => author.unpin(),
            28..45 => author.transaction(),
            45..48 => author.channels(),
            55..59 => author.sequences(),
            48..55 => author.leads_back(),
            _ => author.settings(),
        }
    }
}

/// What takes back whatever pins, but temporary tables.
const UNPINS: &[&str] = &[
    "reset session authorization",
    "deallocate all",
    "select pg_advisory_unlock_all()",
    "unlisten *",
    "close all",
];

struct Author<'a> {
    random: &'a mut Random,
    client: usize,
}

impl Author<'_> {
    fn act(kind: Kind, requests: Vec<Request>) -> Act {
        Act { requests, kind }
    }

    /// Any way to send a statement.
    fn request(&mut self, sql: String) -> Request {
        match self.random.below(4) {
            0 => Request::Extended(sql, Vec::new()),
            1 => Request::Named(sql, Vec::new()),
            2 => Request::Pipeline(vec!["select 1".to_owned(), sql]),
            _ => Request::Query(sql),
        }
    }

    fn settings(&mut self) -> Act {
        let request = if self.random.percent(25) {
            let (name, value) = self.setting();
            let sql = "select set_config($1, $2, false), $3".to_owned();
            let values = [Some(name), Some(value), Some("x".to_owned())].to_vec();
            match self.random.below(2) {
                0 => Request::Named(sql, values),
                _ => Request::Extended(sql, values),
            }
        } else {
            let sql = self.set();
            self.request(sql)
        };
        Self::act(Kind::Settings, vec![request])
    }

    fn setting(&mut self) -> (String, String) {
        let client = self.client;
        let settings = [
            ("work_mem", format!("{}MB", 5 + client)),
            ("WORK_MEM", format!("{}kB", 640 + client)),
            ("search_path", format!("schema_{client}, public")),
            ("TimeZone", ["UTC", "Asia/Tokyo", "America/Lima"][self.random.below(3)].to_owned()),
            ("DateStyle", ["german", "iso, dmy", "sql, mdy"][self.random.below(3)].to_owned()),
            ("statement_timeout", format!("{}s", 100 + client)),
            ("hunt.a", format!("of {client}")),
            ("hunt.b", format!("it's \\ of {client}")),
            ("hunt.tenant", format!("Zoë {client}")),
            ("row_security", "off".to_owned()),
            ("application_name", format!("other of {client}")),
            ("standard_conforming_strings", ["on", "off"][self.random.below(2)].to_owned()),
        ];
        let (name, value) = settings[self.random.below(settings.len())].clone();
        (name.to_owned(), value)
    }

    /// A statement that sets something.
    fn set(&mut self) -> String {
        let (name, value) = self.setting();
        let quoted = value.replace('\'', "''");
        let list = if name == "search_path" || name == "DateStyle" {
            value
        } else {
            format!("'{quoted}'")
        };
        match self.random.below(12) {
            0..4 => format!("set {name} = {list}"),
            4 => format!("SET SESSION {name} TO {list}"),
            5 => format!("select set_config('{name}', '{quoted}', false)"),
            6 => format!("select 1, pg_catalog.set_config('{name}', '{quoted}', false), 2"),
            7 => "set role hunted".to_owned(),
            8 => "set role none".to_owned(),
            9 => "set time zone 'Europe/Athens'".to_owned(),
            10 => "set session characteristics as transaction isolation level repeatable read"
                .to_owned(),
            _ => format!("/* set */ set /* x */ {name} = {list} -- end"),
        }
    }

    /// A transaction block, which may fail, or be undone in part.
    fn transaction(&mut self) -> Act {
        let mut requests = vec![Request::Query("begin".to_owned())];
        let mut in_savepoint = false;
        let mut unlistens = false;
        for _ in 0..self.random.between(1, 4) {
            let request = match self.random.below(10) {
                0..4 => {
                    let sql = self.set();
                    self.request(sql)
                }
                4 => {
                    let sql = self
                        .set()
                        .replace("set ", "set local ")
                        .replace("local session", "session");
                    Request::Query(sql)
                }
                // An UNLISTEN and a savepoint that is rolled back: a limit, see docs/sessions.md.
                5 if !unlistens => {
                    in_savepoint = true;
                    Request::Query("savepoint s".to_owned())
                }
                7 => {
                    let sql = self.channel("listen");
                    self.request(sql)
                }
                8 if !in_savepoint => {
                    unlistens = true;
                    let sql = self.channel("unlisten");
                    self.request(sql)
                }
                6 if in_savepoint => Request::Query("rollback to s".to_owned()),
                6 => Request::Query("reset all".to_owned()),
                _ => Request::Query("select 1/0".to_owned()),
            };
            requests.push(request);
        }
        let end = ["commit", "commit", "rollback"][self.random.below(3)];
        requests.push(Request::Query(end.to_owned()));
        if self.random.percent(20) {
            // All in one.
            let all: Vec<_> = (0..2).map(|_| self.set()).collect();
            requests = vec![Request::Query(all.join("\n; "))];
        }
        Self::act(Kind::Settings, requests)
    }

    /// What it takes from sequences.
    fn sequences(&mut self) -> Act {
        let client = self.client;
        let sql = [
            format!("select nextval('values_of_{client}')"),
            format!("select setval('values_of_{client}', 100), nextval('values_of_{client}')"),
            format!(
                "insert into serials values ({client}) returning nextval('values_of_{client}')"
            ),
        ][self.random.below(3)]
        .clone();
        let request = self.request(sql);
        Self::act(Kind::Settings, vec![request])
    }

    /// What it listens on.
    fn channels(&mut self) -> Act {
        let sql = match self.random.below(7) {
            0..3 => self.channel("listen"),
            3 => self.channel("unlisten"),
            4 => "unlisten *".to_owned(),
            5 => format!("{}; {}", self.channel("listen"), self.channel("unlisten")),
            _ => format!("{}; {}", self.channel("unlisten"), self.channel("listen")),
        };
        let is_simple = sql.contains(';');
        let request = if is_simple { Request::Query(sql) } else { self.request(sql) };
        Self::act(Kind::Settings, vec![request])
    }

    fn channel(&mut self, verb: &str) -> String {
        let name = view::CHANNELS[self.random.below(view::CHANNELS.len())];
        format!("{verb} {name}_{}", self.client)
    }

    fn routine(&mut self) -> Act {
        let routines = ["sets", "locks", "makes", "listens", "prepares", "sets_role", "holds"];
        let name = *self.random.pick(&routines);
        let sql = match self.random.below(7) {
            0 | 1 => format!("select {name}()"),
            2 => format!("select public.{name} () from (values (1)) v(a)"),
            3 => format!("do $$ begin perform {name}(); end $$"),
            4 => format!("select 1 where \"{name}\"() = 1"),
            5 => format!("begin; select {name}(); commit"),
            _ => format!("select {name}(), 1/0"),
        };
        let request = if sql.starts_with("begin") || sql.starts_with("do") {
            Request::Query(sql)
        } else {
            self.request(sql)
        };
        Self::act(Kind::Routine, vec![request, Request::Query("rollback".to_owned())])
    }

    fn leads_back(&mut self) -> Act {
        let sql = [
            "reset all",
            "reset work_mem",
            "set search_path to default",
            "reset role",
            "reset hunt.a",
            "reset application_name",
            "set time zone local",
            "select set_config('work_mem', null, false)",
        ][self.random.below(8)];
        let request = self.request(sql.to_owned());
        Self::act(Kind::Settings, vec![request])
    }

    fn pin(&mut self) -> Act {
        let client = self.client;
        let sql = [
            format!("create temp table if not exists of_{client} (a int)"),
            format!("select pg_advisory_lock({})", 100 + client),
            format!("select pg_try_advisory_lock_shared({})", 200 + client),
            format!("begin; declare of_{client} cursor with hold for select 1; commit"),
            format!("prepare of_{client} as select 1"),
            "set session authorization hunted".to_owned(),
            format!("create temp table also_of_{client} as select 1 as a"),
        ][self.random.below(7)]
        .clone();
        let is_simple = sql.starts_with("begin") || sql.starts_with("prepare");
        let again: Vec<_> =
            [UNPINS, &[&sql]].concat().iter().map(|sql| (*sql).to_owned()).collect();
        let request = if self.random.percent(15) {
            // Gone, and there again, before anybody can ask.
            Request::Burst(again)
        } else if self.random.percent(25) {
            // While somebody asks.
            let mut requests = vec![Request::Query(sql)];
            requests.extend(again.into_iter().map(Request::Query));
            requests.push(Request::Query("rollback".to_owned()));
            return Self::act(Kind::Pins, requests);
        } else if is_simple {
            Request::Query(sql)
        } else {
            self.request(sql)
        };
        // What has begun and failed.
        Self::act(Kind::Pins, vec![request, Request::Query("rollback".to_owned())])
    }

    /// Takes back whatever pins.
    fn unpin(&mut self) -> Act {
        let client = self.client;
        let requests = if self.random.percent(40) {
            vec!["discard all".to_owned()]
        } else {
            let tables =
                format!("drop table if exists pg_temp.of_{client}, pg_temp.also_of_{client}");
            let others = UNPINS.iter().map(|sql| (*sql).to_owned());
            others.chain([tables]).collect()
        };
        let requests = requests.into_iter().map(Request::Query).collect();
        Self::act(Kind::Unpins, requests)
    }
}

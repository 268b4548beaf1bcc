// JDBC (pgjdbc): server-prepared statements from the fifth use on, batches, fetch size (portals), savepoints, CopyManager,
// LISTEN/NOTIFY, query time-outs and cancel, generated keys, the simple query mode.

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.sql.*;
import java.util.*;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.util.PSQLException;
import org.postgresql.util.ServerErrorMessage;

public class Main {
    static int number = 0;

    interface Action { void run() throws Exception; }

    static void step(String title) { System.out.println("[" + ++number + "] " + title); }

    static void show(Object... values) {
        StringBuilder line = new StringBuilder(" ");
        for (Object value : values) line.append(' ').append(shown(value));
        System.out.println(line);
    }

    static String shown(Object value) {
        if (value instanceof byte[] bytes) return bytes.length > 300 ? digest(bytes) : HexFormat.of().formatHex(bytes);
        if (value instanceof int[] counts) return Arrays.toString(counts);
        String text = String.valueOf(value);
        return text.length() > 300 ? digest(text.getBytes(StandardCharsets.UTF_8)) : text;
    }

    static String digest(byte[] bytes) {
        try {
            return bytes.length + " bytes: " + HexFormat.of().formatHex(MessageDigest.getInstance("MD5").digest(bytes));
        } catch (Exception impossible) {
            throw new IllegalStateException(impossible);
        }
    }

    static void fails(Action action) throws Exception {
        try {
            action.run();
            System.out.println("  does not fail");
        } catch (SQLException error) {
            System.out.println("  fails: " + told(error));
        }
    }

    static String told(SQLException error) {
        ServerErrorMessage server = error instanceof PSQLException e ? e.getServerErrorMessage() : null;
        if (server == null) return error.getClass().getSimpleName() + " " + error.getSQLState();
        return String.join(" ", server.getSeverity(), server.getSQLState(), String.valueOf(server.getMessage()), "detail=" + server.getDetail(),
            "position=" + server.getPosition(), "where=" + server.getWhere(), "constraint=" + server.getConstraint(), "routine=" + server.getRoutine());
    }

    static Connection connect(String... settings) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv("PGUSER"));
        for (int i = 0; i < settings.length; i += 2) properties.setProperty(settings[i], settings[i + 1]);
        String database = properties.containsKey("db") ? (String) properties.remove("db") : System.getenv("PGDATABASE");
        return DriverManager.getConnection("jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + database, properties);
    }

    static List<List<Object>> rows(ResultSet result) throws SQLException {
        List<List<Object>> rows = new ArrayList<>();
        while (result.next()) {
            List<Object> row = new ArrayList<>();
            for (int i = 1; i <= result.getMetaData().getColumnCount(); i++) row.add(result.getObject(i));
            rows.add(row);
        }
        return rows;
    }

    static List<List<Object>> all(Connection conn, String sql, Object... values) throws SQLException {
        try (PreparedStatement statement = conn.prepareStatement(sql)) {
            for (int i = 0; i < values.length; i++) statement.setObject(i + 1, values[i]);
            return rows(statement.executeQuery());
        }
    }

    static int run(Connection conn, String sql) throws SQLException {
        try (Statement statement = conn.createStatement()) {
            return statement.execute(sql) ? -1 : statement.getUpdateCount();
        }
    }

    static void queries(Connection conn) throws Exception {
        step("parameters");
        try (PreparedStatement statement = conn.prepareStatement("select ?::int + 1, ?::text, ?::bytea, ?::float8, ?::text, ?::int[]")) {
            statement.setInt(1, 41);
            statement.setString(2, "Grüße 🐘");
            statement.setBytes(3, new byte[] {0, -1});
            statement.setDouble(4, 0.1);
            statement.setNull(5, Types.VARCHAR);
            statement.setArray(6, conn.createArrayOf("int4", new Object[] {1, null, 3}));
            ResultSet result = statement.executeQuery();
            result.next();
            show(result.getInt(1), result.getString(2), result.getBytes(3), result.getDouble(4), result.getString(5), result.getArray(6));
        }
        step("many types, text then binary");
        String types = new String(java.nio.file.Files.readAllBytes(java.nio.file.Path.of(System.getenv("PYTHONPATH"), "types.sql")), StandardCharsets.UTF_8);
        for (int round = 0; round < 7; round++) {
            try (PreparedStatement statement = conn.prepareStatement(types)) {
                ResultSet result = statement.executeQuery();
                result.next();
                ResultSetMetaData meta = result.getMetaData();
                for (int i = 1; round % 6 == 0 && i <= meta.getColumnCount(); i++) show(meta.getColumnName(i), meta.getColumnTypeName(i), result.getString(i));
            }
        }
        step("a statement ten times: named from the fifth on");
        List<Object> found = new ArrayList<>();
        for (int n = 0; n < 10; n++) found.addAll(all(conn, "select ?::int * 2", n));
        show(found);
        step("several statements in one");
        try (Statement statement = conn.createStatement()) {
            boolean isRows = statement.execute("select 1; create temp table t0 (n int); insert into t0 values (1), (2); select n from t0; drop table t0; select 2");
            while (isRows || statement.getUpdateCount() != -1) {
                show(isRows ? rows(statement.getResultSet()) : statement.getUpdateCount());
                isRows = statement.getMoreResults();
            }
            show(statement.execute(""));
        }
        step("metadata");
        try (ResultSet tables = conn.getMetaData().getColumns(null, "pg_catalog", "pg_range", "%")) {
            while (tables.next()) show(tables.getString("COLUMN_NAME"), tables.getString("TYPE_NAME"));
        }
        show(conn.getMetaData().getDatabaseMajorVersion(), conn.isValid(5));
    }

    static void changes(Connection conn) throws Exception {
        step("tables, update counts, generated keys");
        show(run(conn, "create table item (id serial primary key, name text not null unique)"));
        show(run(conn, "insert into item (name) select 'item ' || n from generate_series(1, 100) n"), run(conn, "update item set name = name || '!' where id <= 10"), run(conn, "delete from item where id > 90"));
        try (PreparedStatement statement = conn.prepareStatement("insert into item (name) values (?)", Statement.RETURN_GENERATED_KEYS)) {
            statement.setString(1, "generated");
            statement.executeUpdate();
            show(rows(statement.getGeneratedKeys()));
        }
        step("batches: prepared, of statements, with an error in the middle");
        try (PreparedStatement statement = conn.prepareStatement("insert into item values (?, ?)")) {
            for (int n = 1000; n < 1600; n++) {
                statement.setInt(1, n);
                statement.setString(2, "batch " + n);
                statement.addBatch();
            }
            show(Arrays.stream(statement.executeBatch()).sum());
            for (int n : new int[] {2000, 1000, 2001}) {
                statement.setInt(1, n);
                statement.setString(2, "again " + n);
                statement.addBatch();
            }
            try {
                statement.executeBatch();
            } catch (BatchUpdateException error) {
                show(error.getUpdateCounts(), error.getSQLState());
            }
        }
        try (Statement statement = conn.createStatement()) {
            for (String sql : List.of("insert into item values (3000, 'a')", "update item set name = name where id < 5", "delete from item where id = 3000")) statement.addBatch(sql);
            show(statement.executeBatch());
        }
        show(all(conn, "select count(*) from item"));
        step("an updatable result set");
        try (Statement statement = conn.createStatement(ResultSet.TYPE_SCROLL_SENSITIVE, ResultSet.CONCUR_UPDATABLE)) {
            ResultSet result = statement.executeQuery("select id, name from item where id = 20");
            result.first();
            result.updateString("name", "updated");
            result.updateRow();
        }
        show(all(conn, "select name from item where id = 20"));
    }

    static void errors(Connection conn) throws Exception {
        step("errors outside a transaction");
        for (String sql : List.of("select 1/0", "selec 1", "select * from nowhere", "insert into item values (1, 'x')", "insert into item (id) values (5)", "select 'x'::int")) {
            fails(() -> run(conn, sql));
            fails(() -> all(conn, sql));
        }
        fails(() -> all(conn, "select 1/?::int", 0));
        show(all(conn, "select 'goes on'"));
        step("errors in a transaction, savepoints");
        conn.setAutoCommit(false);
        run(conn, "insert into item values (4000, 'kept')");
        Savepoint savepoint = conn.setSavepoint("sp");
        fails(() -> run(conn, "insert into item values (4000, 'again')"));
        fails(() -> all(conn, "select 1"));
        conn.rollback(savepoint);
        conn.releaseSavepoint(savepoint);
        conn.commit();
        fails(() -> run(conn, "select 1/0"));
        fails(conn::commit);
        conn.rollback();
        show(all(conn, "select count(*) from item where id = 4000"));
        conn.commit();
        conn.setAutoCommit(true);
        step("warnings");
        try (Statement statement = conn.createStatement()) {
            statement.execute("do $$ begin raise notice 'hello %', 'ü'; raise warning 'careful'; end $$");
            for (SQLWarning warning = statement.getWarnings(); warning != null; warning = warning.getNextWarning()) show(warning.getSQLState(), warning.getMessage());
        }
    }

    static void transactions(Connection conn) throws Exception {
        step("isolation levels, read only");
        for (int level : new int[] {Connection.TRANSACTION_READ_COMMITTED, Connection.TRANSACTION_REPEATABLE_READ, Connection.TRANSACTION_SERIALIZABLE}) {
            conn.setTransactionIsolation(level);
            show(all(conn, "select current_setting('transaction_isolation')"), conn.getTransactionIsolation());
        }
        conn.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
        conn.setReadOnly(true);
        conn.setAutoCommit(false);
        fails(() -> run(conn, "delete from item"));
        conn.rollback();
        conn.setReadOnly(false);
        step("two connections: uncommitted is unseen, committed is seen");
        try (Connection other = connect()) {
            run(conn, "insert into item values (5000, 'mine')");
            show(all(other, "select count(*) from item where id = 5000"));
            conn.commit();
            show(all(other, "select count(*) from item where id = 5000"));
        }
        conn.setAutoCommit(true);
    }

    static void big(Connection conn) throws Exception {
        step("50000 rows at once; by fetch size; left half-way; two in turns");
        show(all(conn, "select n, 'row ' || n from generate_series(1, 50000) n").size());
        conn.setAutoCommit(false);
        try (Statement first = conn.createStatement(); Statement second = conn.createStatement()) {
            first.setFetchSize(1000);
            second.setFetchSize(7);
            ResultSet up = first.executeQuery("select n from generate_series(1, 10000) n");
            ResultSet down = second.executeQuery("select -n from generate_series(1, 100) n");
            long sum = 0;
            for (int n = 0; up.next(); n++) sum += up.getInt(1) + (n < 50 && down.next() ? down.getInt(1) : 0);
            show(sum);
            first.setFetchSize(10);
            ResultSet wrong = first.executeQuery("select 10 / (25 - n) from generate_series(1, 50) n");
            fails(() -> { while (wrong.next()) wrong.getInt(1); });
        }
        conn.rollback();
        conn.setAutoCommit(true);
        step("5 MB there and back");
        String text = "0123456789äöüßé".repeat(250000);
        show(all(conn, "select ?::text", text).get(0).get(0).equals(text), text.length());
    }

    static void copies(Connection conn) throws Exception {
        step("COPY in and out");
        var copy = conn.unwrap(PGConnection.class).getCopyAPI();
        StringBuilder lines = new StringBuilder();
        for (int n = 10000; n < 12000; n++) lines.append(n).append("\tcöpy ").append(n).append('\n');
        show(copy.copyIn("copy item from stdin", new ByteArrayInputStream(lines.toString().getBytes(StandardCharsets.UTF_8))));
        for (String form : List.of("text", "csv", "binary")) {
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            show(copy.copyOut("copy (select * from item order by id) to stdout (format " + form + ")", out), out.toByteArray());
        }
        step("COPY in fails half-way: bad data, cancelled by the client; COPY out fails");
        fails(() -> copy.copyIn("copy item from stdin", new ByteArrayInputStream("20000\ta\nbad\tb\n".getBytes())));
        var in = copy.copyIn("copy item from stdin");
        in.writeToCopy("20000\tx\n".getBytes(), 0, 8);
        in.cancelCopy();
        show(all(conn, "select count(*) from item where id >= 20000"));
        fails(() -> copy.copyOut("copy (select 10 / (500 - n) from generate_series(1, 1000) n) to stdout", new ByteArrayOutputStream()));
        show(all(conn, "select 'still in step'"));
    }

    static void cancels(Connection conn) throws Exception {
        step("cancel from a second thread; a query time-out");
        try (Statement statement = conn.createStatement()) {
            Thread thread = new Thread(() -> {
                try {
                    Thread.sleep(300);
                    statement.cancel();
                } catch (Exception error) {
                    error.printStackTrace();
                }
            });
            thread.start();
            fails(() -> statement.execute("select pg_sleep(30)"));
            thread.join();
            statement.setQueryTimeout(1);
            fails(() -> statement.execute("select pg_sleep(30)"));
        }
        show(all(conn, "select 'goes on'"));
    }

    static void session() throws Exception {
        step("startup settings; SET lasts; RESET");
        String settings = "select current_setting('work_mem'), current_setting('application_name'), current_setting('search_path')";
        try (Connection conn = connect("options", "-c work_mem=5MB", "ApplicationName", "jdbc", "currentSchema", "public,pg_catalog"); Connection other = connect()) {
            show(all(conn, settings));
            run(conn, "set work_mem = '9MB'");
            conn.setSchema("pg_catalog");
            show(all(conn, settings), conn.getSchema());
            run(conn, "reset all");
            show(all(conn, settings));
            step("temporary tables, advisory locks");
            run(conn, "create temp table mine as select generate_series(1, 5) n");
            show(all(conn, "select sum(n) from mine"));
            all(conn, "select pg_advisory_lock(4711)");
            show(all(other, "select pg_try_advisory_lock(4711)"));
            all(conn, "select pg_advisory_unlock_all()");
            show(all(other, "select pg_try_advisory_lock(4711)"));
            step("LISTEN, NOTIFY");
            run(conn, "listen news");
            run(conn, "notify news, 'one'");
            all(other, "select pg_notify('news', ?)", "two ü");
            for (int heard = 0; heard < 2;) {
                PGNotification[] some = conn.unwrap(PGConnection.class).getNotifications(10000);
                for (PGNotification one : some) show(one.getName(), one.getParameter());
                heard += Math.max(1, some.length);
            }
            step("DEALLOCATE ALL and DISCARD ALL under named statements: seen by the driver");
            for (int n = 0; n < 14; n++) {
                if (n == 7) run(conn, "deallocate all");
                if (n == 12) run(conn, "discard all");
                if (all(conn, "select ?::int + 5", n).get(0).get(0).equals(n + 5)) continue;
                show("wrong", n);
            }
            step("the result type changes under a named statement");
            run(conn, "create table shape (a int)");
            run(conn, "insert into shape values (1)");
            for (int n = 0; n < 7; n++) all(conn, "select * from shape");
            run(other, "alter table shape add b text default 'new'");
            fails(() -> show(all(conn, "select * from shape")));
            fails(() -> show(all(conn, "select * from shape")));
        }
        step("simple protocol only");
        try (Connection conn = connect("preferQueryMode", "simple")) {
            show(all(conn, "select ?::int + 1, ?::text", 1, "it's"), all(conn, "select 1"));
            fails(() -> all(conn, "select 1/?::int", 0));
        }
        step("extended protocol for everything, never named");
        try (Connection conn = connect("preferQueryMode", "extended", "prepareThreshold", "0")) {
            for (int n = 0; n < 7; n++) all(conn, "select ?::int", n);
            conn.setAutoCommit(false);
            show(all(conn, "select count(*) from pg_prepared_statements"));
            conn.commit();
        }
    }

    static void connections() throws Exception {
        step("20 connections after each other");
        for (int n = 0; n < 20; n++) {
            try (Connection conn = connect()) {
                if (!all(conn, "select ?::int", n).get(0).get(0).equals(n)) show("wrong", n);
            }
        }
        step("aborted in a transaction: rolled back");
        Connection conn = connect();
        conn.setAutoCommit(false);
        run(conn, "insert into item values (9000, 'gone')");
        all(conn, "select pg_advisory_xact_lock(12)");
        conn.abort(Runnable::run);
        fails(() -> all(conn, "select 1"));
        try (Connection after = connect()) {
            all(after, "select pg_advisory_lock(12)");
            show(all(after, "select count(*) from item where id = 9000"));
        }
        step("a database that is not there");
        fails(() -> connect("db", "no such").close());
    }

    public static void main(String[] arguments) throws Exception {
        System.setOut(new java.io.PrintStream(new java.io.FileOutputStream(java.io.FileDescriptor.out), true, "UTF-8"));
        try (Connection conn = connect()) {
            queries(conn);
            changes(conn);
            errors(conn);
            transactions(conn);
            big(conn);
            copies(conn);
            cancels(conn);
        }
        session();
        connections();
    }
}

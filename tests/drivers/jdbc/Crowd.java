// JDBC (pgjdbc), eight threads, each statement prepared on the server at its first use: the steps of common/crowding.py.

import java.sql.*;
import java.util.*;
import java.util.concurrent.*;

public class Crowd {
    static final int CLIENTS = 8, ROUNDS = 30;
    static int number = 0;

    interface Work { Object of(int number, Connection conn) throws Exception; }

    static void step(String title) { System.out.println("[" + ++number + "] " + title); }

    // Not assuming a version, the driver begins with SET, and keeps its server connection for that.
    static Connection connect() throws SQLException {
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE");
        return DriverManager.getConnection(url + "?prepareThreshold=1&assumeMinServerVersion=9.4&user=" + System.getenv("PGUSER"));
    }

    static List<List<Object>> rows(Connection conn, String sql, Object... values) throws SQLException {
        try (PreparedStatement statement = conn.prepareStatement(sql)) {
            for (int i = 0; i < values.length; i++) statement.setObject(i + 1, values[i]);
            ResultSet result = statement.executeQuery();
            List<List<Object>> rows = new ArrayList<>();
            while (result.next()) {
                List<Object> row = new ArrayList<>();
                for (int i = 1; i <= result.getMetaData().getColumnCount(); i++) row.add(result.getObject(i));
                rows.add(row);
            }
            return rows;
        }
    }

    static long one(Connection conn, String sql, Object... values) throws SQLException {
        return ((Number) rows(conn, sql, values).get(0).get(0)).longValue();
    }

    static void execute(Connection conn, String sql) throws SQLException {
        try (Statement statement = conn.createStatement()) { statement.execute(sql); }
    }

    static Object rounds(int number, Connection conn) throws SQLException {
        long[] sums = new long[4];
        for (int turn = 0; turn < ROUNDS; turn++) {
            int row = number * 1000 + turn;
            rows(conn, "insert into crowd values (?, ?, ?, ?) returning id", row, number, turn, "note " + row);
            List<Object> found = rows(conn, "select n, note from crowd where id = ?", row).get(0);
            if (!found.get(1).equals("note " + row)) throw new IllegalStateException(row + " has " + found);
            sums[0] += ((Number) found.get(0)).longValue();
            sums[1] += one(conn, "update crowd set n = n + ? where id = ? returning n", 10, row);
            sums[2] += one(conn, "select " + number + " + ?::int", turn);
            conn.setAutoCommit(false);
            rows(conn, "update crowd set note = ? where id = ? returning id", "changed", row);
            if (turn % 3 == 0) conn.rollback(); else conn.commit();
            conn.setAutoCommit(true);
            sums[3] += one(conn, "select count(*) from crowd where owner = ? and note = ?", number, "changed");
        }
        return number + " " + Arrays.toString(sums);
    }

    // Who remembers the columns hears that they have changed, unless the proxy sees that it asks for them anyway.
    static Object selected(int number, Connection conn) throws SQLException {
        for (int attempt = 0; attempt < 3; attempt++) {
            try {
                return rows(conn, "select * from crowd where id = ?", number * 1000);
            } catch (SQLException error) {
                if (!"0A000".equals(error.getSQLState())) throw error;
            }
        }
        return "changed again and again";
    }

    static Object read(int number, Connection conn) throws SQLException {
        int wrong = 0;
        for (int turn = 0; turn < 100; turn++) {
            List<List<Object>> found = rows(conn, "select id, note from crowd where id = ?", number * 1000);
            if (!found.equals(List.of(List.of(number * 1000, "anew " + number)))) wrong++;
        }
        return number + " " + wrong;
    }

    static void all(ExecutorService threads, List<Connection> clients, Work work) throws Exception {
        List<Future<Object>> results = new ArrayList<>();
        for (int i = 0; i < clients.size(); i++) {
            int number = i;
            results.add(threads.submit(() -> work.of(number, clients.get(number))));
        }
        for (Future<Object> result : results) System.out.println("  " + result.get());
    }

    public static void main(String[] arguments) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(CLIENTS + 1);
        List<Connection> clients = new ArrayList<>();
        for (int i = 0; i < CLIENTS; i++) clients.add(connect());
        try (Connection admin = connect()) {
            step("rows of one's own");
            execute(admin, "create table crowd (id int primary key, owner int, n int, note text)");
            all(threads, clients, Crowd::rounds);
            step("a column added");
            all(threads, clients, Crowd::selected);
            execute(admin, "alter table crowd add extra int default 7");
            all(threads, clients, Crowd::selected);
            step("a type changed");
            execute(admin, "alter table crowd alter n type bigint");
            all(threads, clients, Crowd::selected);
            step("a table made anew");
            execute(admin, "drop table crowd");
            execute(admin, "create table crowd (note text, id int primary key)");
            execute(admin, "insert into crowd select 'anew ' || n, n * 1000 from generate_series(0, 7) n");
            all(threads, clients, Crowd::selected);
            step("changed while it is read");
            Future<Object> changes = threads.submit(() -> {
                for (int turn = 0; turn < 10; turn++) {
                    execute(admin, "alter table crowd add x int");
                    execute(admin, "alter table crowd drop x");
                }
                return null;
            });
            all(threads, clients, Crowd::read);
            changes.get();
        }
        for (Connection client : clients) client.close();
        threads.shutdown();
    }
}

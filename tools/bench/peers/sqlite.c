/* SQLite at its fastest: integer primary key, WAL, synchronous=OFF, one transaction, prepared statements. */
#include "peer.h"

#include <sqlite3.h>

static sqlite3 *database;

static void check(int code, int wanted)
{
    if (code != wanted) {
        fprintf(stderr, "sqlite: %s\n", sqlite3_errmsg(database));
        exit(1);
    }
}

static void run(const char *sql)
{
    check(sqlite3_exec(database, sql, NULL, NULL, NULL), SQLITE_OK);
}

static sqlite3_stmt *prepare(const char *sql)
{
    sqlite3_stmt *statement;
    check(sqlite3_prepare_v2(database, sql, -1, &statement, NULL), SQLITE_OK);
    return statement;
}

static double append(const struct job *job)
{
    unsigned char value[VALUE_MAX] = { 0 };
    double start = now();
    run("BEGIN");
    sqlite3_stmt *insert = prepare("INSERT INTO entries VALUES (?, ?)");
    for (uint64_t timestamp = 1; timestamp <= job->count; timestamp++) {
        fill(value, timestamp);
        sqlite3_bind_int64(insert, 1, (sqlite3_int64)timestamp);
        sqlite3_bind_blob(insert, 2, value, (int)job->value_bytes, SQLITE_STATIC);
        check(sqlite3_step(insert), SQLITE_DONE);
        sqlite3_reset(insert);
    }
    sqlite3_finalize(insert);
    run("COMMIT");
    return now() - start;
}

/* Steps to the end; returns the sum over the rows and adds their number to `read`. */
static uint64_t drain(sqlite3_stmt *select, uint64_t *read)
{
    uint64_t sum = 0;
    int code;
    while ((code = sqlite3_step(select)) == SQLITE_ROW) {
        sum += (uint64_t)sqlite3_column_int64(select, 0) + head_of(sqlite3_column_blob(select, 1));
        ++*read;
    }
    check(code, SQLITE_DONE);
    sqlite3_reset(select);
    return sum;
}

int main(int argc, char **argv)
{
    struct job job = parse(argc, argv);
    char path[PATH_LENGTH];
    snprintf(path, sizeof path, "%s/sqlite", job.directory);
    check(sqlite3_open(path, &database), SQLITE_OK);
    run("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA mmap_size=1073741824;"
        "CREATE TABLE entries (timestamp INTEGER PRIMARY KEY, value BLOB)");
    double seconds = append(&job);
    run("PRAGMA wal_checkpoint(TRUNCATE)");
    uint64_t sum = 0, read = 0, state = 88172645463325252u;
    double start = now();
    if (is(&job, "scan") || is(&job, "rescan")) {
        sum = drain(prepare("SELECT timestamp, value FROM entries ORDER BY timestamp"), &read);
    } else if (!is(&job, "append")) {
        uint64_t length = is(&job, "range") ? RANGE : 1;
        sqlite3_stmt *select = prepare("SELECT timestamp, value FROM entries WHERE timestamp BETWEEN ? AND ? ORDER BY timestamp");
        run("BEGIN");
        for (int i = 0; i < LOOKUPS; i++) {
            uint64_t timestamp = scattered(&state, job.count - length + 1);
            sqlite3_bind_int64(select, 1, (sqlite3_int64)timestamp);
            sqlite3_bind_int64(select, 2, (sqlite3_int64)(timestamp + length - 1));
            sum += drain(select, &read);
        }
        run("COMMIT");
    }
    finish(is(&job, "append") ? seconds : now() - start, sum, read);
    return 0;
}
